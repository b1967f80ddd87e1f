"""What every statistic declares: fields, filters, range, what to compute, and words.

A statistic is one file in this folder. Its class is the estimand that documents hold, so that a file has everything
that is to be said of a statistic; `vjepa_stress.statistics` finds it by listing the folder.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, pairwise
from typing import ClassVar, Literal, NamedTuple, Self

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Cell, Where
from vjepa_stress.fields import Frozen, Name
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate
from vjepa_stress.statistics.numerics.resample import Resampling

Resampled = Literal["percentile", "bca"]
"""Bootstrap over units: ends at the percentiles of the resamples, or those bias-corrected and accelerated."""

Span = tuple[float, float]
"""Smallest and largest value."""


class Defect(NamedTuple):
    """Why an estimand has the same value, or none, whatever is found.

    Attributes:
        code: which defect.
        values: what the message names.
    """

    code: str
    values: Mapping[str, str]


class Statistic(Frozen, ABC):
    """One number computed from a study's table.

    Class attributes:
        reads: `number` for one value with an interval; `curve` for one with `steps`.
        present_in: whether a unit is an observation when it is in every part, or in any.
        is_mean: whether its interval is as wide as that of a mean over units, so that a sample size follows from it.
        words: templates of the texts about it, by code; `report.words` fills them in.
    """

    reads: ClassVar[Literal["number", "curve"]] = "number"
    present_in: ClassVar[Literal["every", "any"]] = "every"
    is_mean: ClassVar[bool] = False
    words: ClassVar[Mapping[str, str]]

    statistic: str
    interval: str

    @abstractmethod
    def filters(self) -> tuple[Where, ...]:
        """Its filters, in the order that `plan` reads them."""

    @abstractmethod
    def columns(self) -> tuple[Name, ...]:
        """The shard columns it computes with, in the order that `plan` reads them."""

    @abstractmethod
    def value_range(self, spans: Sequence[Span]) -> Span:
        """Smallest and largest value it can have, given those of its column in each filter."""

    @abstractmethod
    def plan(self, parts: Sequence[Floats], cells: Sequence[Cell], how: Resampling) -> PendingEstimate | Estimate:
        """What to compute.

        Args:
            parts: for each filter and each column (units, cells), rows of the same units; NaN where a value is
                missing.
            cells: of the first filter, in the order of its columns.
            how: level, resamples and seed.
        """

    def check(self, design: Design, place: str) -> None:
        """Refuse what the design does not have the columns or cells for.

        Raises:
            ValueError: saying what is missing.
        """
        for column in self.columns():
            if column not in design.columns:
                raise ValueError(f"{place}: no metric {column!r} in the design, only {sorted(design.columns)}")
        for where in self.filters():
            design.check_filter(where, place)

    def defects(self, design: Design) -> Iterator[Defect]:  # noqa: ARG002
        """Why its value is known beforehand; nothing for most."""
        return iter(())

    def on_control(self, factor: str, control: str) -> Self | None:
        """The same estimand computed on a control; None where that would be no such number."""
        changed = {name: value.at(factor, control) for name, value in dict(self).items() if isinstance(value, Where)}
        return self.model_copy(update=changed)

    def meaning(self, design: Design) -> Hashable:
        """What it computes, however its filters say it: equal for two that are always the same number."""
        selected = tuple((design.select(where), frozenset(where.rows or ())) for where in self.filters())
        return self.statistic, self.interval, tuple(sorted(self.columns())), selected

    def possible(self, borders: Sequence[float], within: Span) -> Iterator[Estimate]:
        """Estimates that stand for all possible ones: every order of value and ends at and between borders."""
        low, high = (end if math.isfinite(end) else math.copysign(1e9, end) for end in within)
        marks = sorted({low, high, *(border for border in borders if low <= border <= high)})
        points = sorted({*marks, *((one + other) / 2 for one, other in pairwise(marks))})
        for bottom, value, top in combinations_with_replacement(points, 3):
            if self.sampled or bottom == value == top:
                yield Estimate(value=value, low=bottom, high=top, n=2, method="percentile")

    @property
    def sampled(self) -> bool:
        """Whether it has a sampling interval."""
        return self.interval != "none"

    @property
    def resampled(self) -> bool:
        """Whether its interval comes from resampling units."""
        return self.interval in ("percentile", "bca", "cluster")


class Comparison(Statistic):
    """A statistic of two filters, which must not select the same."""

    same: ClassVar[str]
    """What the statistic is when both filters select the same cells."""

    def check(self, design: Design, place: str) -> None:
        """Refuse two filters that select the same cells, as well.

        Raises:
            ValueError: saying so.
        """
        super().check(design, place)
        one, other = self.filters()
        if one.rows == other.rows and design.select(one) == design.select(other):
            raise ValueError(f"{place}: both filters select the same cells, so the {self.same}")
