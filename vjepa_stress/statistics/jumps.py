"""Changes of a metric between consecutive levels of an ordered list, with paired simultaneous intervals."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, product
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator
from scipy import special

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Where
from vjepa_stress.fields import Level, Name
from vjepa_stress.statistics.base import OfOneMetric, Sample, Span, sizes_at
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, count_and_mean, unit_means
from vjepa_stress.statistics.numerics.complete import note_of_values
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, PendingEstimate, Reads, Step, undefined
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.numerics.simultaneous import simultaneous_half_widths


class Jumps(OfOneMetric):
    """Changes of a metric between consecutive levels of an ordered list. Each unit is averaged over cells first.

    `max-t` computes paired changes on the units that both levels have, with simultaneous intervals over all steps and
    the whole change. `pooled` is the published form: each mean has a half-width from Student's t, and a change has
    the pooled half-width √(h₁² + h₂²), as if both levels had different units. On shared units it is far too wide.
    """

    present_in: ClassVar[Literal["every", "any"]] = "any"
    words: ClassVar[Mapping[str, str]] = {
        "name": "jumps",
        "of": "change of mean {metric} from the first level of {along} to the last, with units averaged over cells",
        "over": "changes of mean {metric} between {along} {levels}, over {where}",
    }

    statistic: Literal["jumps"]
    along: Name
    levels: tuple[Level, ...] = Field(min_length=2)
    where: Where
    interval: Literal["max-t", "pooled"] = "max-t"

    @property
    def yields(self) -> Reads:
        """Changes with simultaneous intervals, or with pooled half-widths."""
        return "curve" if self.interval == "max-t" else "pooled-curve"

    @model_validator(mode="after")
    def _levels_are_unique(self) -> Self:
        if self.along in self.where.levels:
            raise ValueError(f"`levels` lists the levels of {self.along}: remove {self.along} from the filter")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"duplicate levels: {', '.join(map(str, self.levels))}")
        return self

    def filters(self) -> tuple[Where, ...]:
        """One filter per level, in order."""
        return tuple(self.where.at(self.along, level) for level in self.levels)

    def value_range(self, spans: Sequence[Span]) -> Span:
        """Smallest and largest possible difference between the last level and the first."""
        (low, high), (other_low, other_high) = spans[-1], spans[0]
        return low - other_high, high - other_low

    def check(self, design: Design, path: str) -> None:
        """Also refuse levels that do not have the same cells.

        Raises:
            ValueError: with the path and two levels.
        """
        super().check(design, path)
        cells = [tuple(cell.without(self.along) for cell in design.select(where)) for where in self.filters()]
        for level, selected in zip(self.levels[1:], cells[1:], strict=True):
            if selected != cells[0]:
                raise ValueError(f"{path}: {self.levels[0]} and {level} do not have the same cells")

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Compute all changes with their intervals."""
        return _jumps(sample.parts, how, self.interval, sample.strata)

    def on_control(self, factor: str, control: str) -> Self | None:
        """None if the levels are levels of the control factor; else the same jumps on the control."""
        return None if factor == self.along else super().on_control(factor, control)

    def possible(self, borders: Sequence[float], within: Span) -> Iterator[Estimate]:  # noqa: ARG002
        """Curves with changes below, at and above each border, in both directions.

        Borders are in the unit of the metric, or in pooled half-widths.
        """
        sizes = sizes_at(borders)
        ends = list(combinations_with_replacement(sizes, 2)) if self.interval == "max-t" else [(s, s) for s in sizes]
        changes = [Step(value=(low + high) / 2, half_width=1.0, low=low, high=high, n=2) for low, high in ends]
        for step, whole in product(changes, repeat=2):
            steps = (step,) * (len(self.levels) - 1)
            yield Estimate(
                value=whole.value,
                low=whole.low,
                high=whole.high,
                n=2,
                method="max-t" if self.interval == "max-t" else "student-t",
                steps=steps,
                overall=whole,
            )


def jumps(
    models: Sequence[ArrayLike],
    how: Resampling | None = None,
    *,
    interval: Literal["max-t", "pooled"] = "pooled",
) -> Estimate:
    """Changes of a metric between consecutive models. Units are averaged over cells.

    Args:
        models: for each model in order, (units,) or (units, cells), with rows of the same units in the same order;
            NaN for missing values.
        how: level, and for `max-t` resamples and seed.
        interval: `max-t` has paired changes with simultaneous intervals over all steps and the whole change. `pooled`
            has the difference of both means with the pooled half-width, and a paired Student's t interval for each
            change on its own.

    Returns:
        The last model minus the first, with its interval (`pooled`: plus and minus the pooled half-width). `steps`
        has each change, and `overall` the whole one.
    """
    note = note_of_values(*models)
    return _jumps(models, how or Resampling(), interval).noted(note)


def _jumps(
    models: Sequence[ArrayLike],
    how: Resampling,
    interval: Literal["max-t", "pooled"],
    strata: tuple[int, ...] = (),
) -> Estimate:
    means = np.hstack([unit_means(as_table(values)) for values in models])
    n = int(np.isfinite(means).any(axis=1).sum())
    method: Method = "max-t" if interval == "max-t" else "student-t"
    if means.shape[1] < 2:
        return undefined(n, method, Note(code="too-few-groups"))
    if np.isfinite(means).sum(axis=0).min() < 2:
        return undefined(n, method, Note(code="too-few-units"))
    centres, halves, _ = _student(means, how.level)
    firsts, lasts = [*range(means.shape[1] - 1), 0], [*range(1, means.shape[1]), -1]
    changes = means[:, lasts] - means[:, firsts]
    middles, pairs, shared = _student(changes, how.level)
    if interval == "max-t":
        if min(shared) < 2:
            return undefined(n, method, Note(code="too-few-units"))
        values, pairs = middles, simultaneous_half_widths(changes, how, strata).tolist()
        if not all(map(math.isfinite, pairs)):
            return undefined(n, method, Note(code="no-value-in-resamples"))
    else:
        values = [centres[last] - centres[first] for first, last in zip(firsts, lasts, strict=True)]
    steps = [
        Step(
            value=values[at],
            half_width=math.hypot(halves[first], halves[last]),
            low=middles[at] - pairs[at] if shared[at] > 1 else None,
            high=middles[at] + pairs[at] if shared[at] > 1 else None,
            n=shared[at],
        )
        for at, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    ]
    overall = steps.pop()
    pooled = math.hypot(halves[0], halves[-1])
    ends = (overall.low, overall.high) if interval == "max-t" else (overall.value - pooled, overall.value + pooled)
    return Estimate(
        value=overall.value, low=ends[0], high=ends[1], n=n, method=method, steps=tuple(steps), overall=overall
    )


def _student(values: Floats, level: float) -> tuple[list[float], list[float], list[int]]:
    """For each column: mean, half-width of the Student's t interval, and number of values."""
    n, mean = count_and_mean(values, 0)
    off = values - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(np.isnan(off), 0.0, off * off).sum(0)
        quantiles = [_student_quantile(int(one) - 1, (1 + level) / 2) for one in n]
        half = quantiles * np.sqrt(squares / (n - 1) / n)
    return mean.tolist(), half.tolist(), n.tolist()


@functools.lru_cache(maxsize=256)
def _student_quantile(freedom: int, share: float) -> float:
    return float(special.stdtrit(freedom, share))
