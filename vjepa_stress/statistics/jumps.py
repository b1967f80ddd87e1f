"""What a metric gains from each level of an ordered list to the next, with Student's t intervals."""

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
from vjepa_stress.design.cell import Cell, Where
from vjepa_stress.fields import Level, Name
from vjepa_stress.statistics.base import Span, Statistic
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, count_and_mean, unit_means
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, Step, undefined
from vjepa_stress.statistics.numerics.resample import Resampling


class Jumps(Statistic):
    """What a metric gains from each level of an ordered list to the next, averaged over the filter a unit first.

    Each level's mean has Student's t half-width; a jump has both of them pooled, √(h₁² + h₂²), and the paired
    interval over the units that both levels have.
    """

    reads: ClassVar[Literal["number", "curve"]] = "curve"
    present_in: ClassVar[Literal["every", "any"]] = "any"
    words: ClassVar[Mapping[str, str]] = {
        "name": "jumps",
        "of": "change of mean {metric} from the first level of {along} to the last, a unit averaged over cells first",
        "over": "changes of mean {metric} between {along} {levels}, over {where}",
    }

    statistic: Literal["jumps"]
    metric: Name
    along: Name
    levels: tuple[Level, ...] = Field(min_length=2)
    where: Where
    interval: Literal["t"] = "t"

    @model_validator(mode="after")
    def _levels_in_one_place(self) -> Self:
        if self.along in self.where.levels:
            raise ValueError(f"`levels` lists the levels of {self.along}, in order: leave it out of the filter")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"each level has one place in the order: {', '.join(map(str, self.levels))}")
        return self

    def filters(self) -> tuple[Where, ...]:
        """One a level, in order."""
        return tuple(self.where.at(self.along, level) for level in self.levels)

    def columns(self) -> tuple[Name, ...]:
        """The metric."""
        return (self.metric,)

    def value_range(self, spans: Sequence[Span]) -> Span:
        """Smallest and largest difference between the last level and the first."""
        (low, high), (other_low, other_high) = spans[-1], spans[0]
        return low - other_high, high - other_low

    def check(self, design: Design, place: str) -> None:
        """Refuse levels that do not have the same cells, as well.

        Raises:
            ValueError: naming two of them.
        """
        super().check(design, place)
        cells = [tuple(cell.without(self.along) for cell in design.select(where)) for where in self.filters()]
        for level, found in zip(self.levels[1:], cells[1:], strict=True):
            if found != cells[0]:
                raise ValueError(f"{place}: {self.levels[0]} and {level} do not have the same cells")

    def plan(
        self,
        parts: Sequence[Floats],
        cells: Sequence[Cell],  # noqa: ARG002
        how: Resampling,
    ) -> PendingEstimate | Estimate:
        """Student's t."""
        return jumps(parts, how)

    def on_control(self, factor: str, control: str) -> Self | None:
        """An order of models has no place for a control."""
        return None if factor == self.along else super().on_control(factor, control)

    def possible(self, borders: Sequence[float], within: Span) -> Iterator[Estimate]:  # noqa: ARG002
        """Curves with jumps below, at and above each border, which are in half-widths, up and down."""
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
    """What a metric gains from each model to the next, averaged over cells a unit first; Student's t half-widths.

    Args:
        models: for each model in order (units,) or (units, cells), rows of the same units in the same order.
        how: only its level is used.

    Returns:
        The last model against the first, with the pooled half-width either side; `steps` are the jumps between.
    """
    level = (how or Resampling()).level
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
    """For each column the mean, the half-width of its Student's t interval, and how many values it has."""
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
