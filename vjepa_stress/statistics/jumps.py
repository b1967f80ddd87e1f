"""Changes of a metric between consecutive levels of an ordered list, with Student's t intervals."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator
from scipy import special

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Where
from vjepa_stress.fields import Level, Name
from vjepa_stress.statistics.base import OfOneMetric, Sample, Span
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, count_and_mean, unit_means
from vjepa_stress.statistics.numerics.complete import note_of_values
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, Step, undefined
from vjepa_stress.statistics.numerics.resample import Resampling


class Jumps(OfOneMetric):
    """Changes of a metric between consecutive levels of an ordered list. Each unit is averaged over cells first.

    The mean of each level has a half-width from Student's t. A jump has the pooled half-width of both means,
    √(h₁² + h₂²), and a paired interval over the units that both levels have.
    """

    reads: ClassVar[Literal["number", "curve"]] = "curve"
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
    interval: Literal["t"] = "t"

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
        """Compute Student's t intervals; nothing is resampled."""
        return _jumps(sample.parts, how.level)

    def on_control(self, factor: str, control: str) -> Self | None:
        """None if the levels are levels of the control factor; else the same jumps on the control."""
        return None if factor == self.along else super().on_control(factor, control)

    def possible(self, borders: Sequence[float], within: Span) -> Iterator[Estimate]:  # noqa: ARG002
        """Curves with jumps below, at and above each border, in both directions. Borders are in half-widths."""
        sizes = {0.0, *(border * by for border in borders for by in (0.5, 1.0, 2.0))}
        for size, whole in product(sorted(sizes), repeat=2):
            jump = Step(value=size, half_width=1.0, low=None, high=None, n=2)
            yield Estimate(
                value=whole,
                low=whole,
                high=whole,
                n=2,
                method="student-t",
                steps=(jump,) * (len(self.levels) - 1),
                overall=jump.model_copy(update={"value": whole}),
            )


def jumps(models: Sequence[ArrayLike], how: Resampling | None = None) -> Estimate:
    """Changes of a metric between consecutive models, with Student's t half-widths. Units are averaged over cells.

    Args:
        models: for each model in order, (units,) or (units, cells), with rows of the same units in the same order;
            NaN for missing values.
        how: only its level is used.

    Returns:
        The last model minus the first, with the pooled half-width on either side. `steps` has each jump.
    """
    note = note_of_values(*models)
    return _jumps(models, (how or Resampling()).level).noted(note)


def _jumps(models: Sequence[ArrayLike], level: float) -> Estimate:
    means = np.hstack([unit_means(as_table(values)) for values in models])
    n = int(np.isfinite(means).any(axis=1).sum())
    if means.shape[1] < 2:
        return undefined(n, "student-t", Note(code="too-few-groups"))
    if np.isfinite(means).sum(axis=0).min() < 2:
        return undefined(n, "student-t", Note(code="too-few-units"))
    centres, halves, _ = _student(means, level)
    firsts, lasts = [*range(means.shape[1] - 1), 0], [*range(1, means.shape[1]), -1]
    middles, pairs, shared = _student(means[:, lasts] - means[:, firsts], level)
    steps = [
        Step(
            value=centres[last] - centres[first],
            half_width=math.hypot(halves[first], halves[last]),
            low=middles[at] - pairs[at] if shared[at] > 1 else None,
            high=middles[at] + pairs[at] if shared[at] > 1 else None,
            n=shared[at],
        )
        for at, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    ]
    overall = steps.pop()
    low, high = overall.value - overall.half_width, overall.value + overall.half_width
    return Estimate(
        value=overall.value, low=low, high=high, n=n, method="student-t", steps=tuple(steps), overall=overall
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
