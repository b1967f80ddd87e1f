"""Base classes of statistics: fields, filters, range, computation, and words.

A statistic is one file in this folder. Its class is also the model of the estimand in documents.
`vjepa_stress.statistics` finds it by listing the folder.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import ClassVar, Literal, NamedTuple, Self

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Cell, Where
from vjepa_stress.fields import Frozen, Name
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, PendingEstimate, Reads
from vjepa_stress.statistics.numerics.resample import Ends, Resampling

Resampled = Literal["expanded"]
Jackknifed = Literal["jackknife"]
"""The intervals of single numbers that a document can register: percentiles of a bootstrap at an expanded level, or a
jackknife. Each statistic has the one whose coverage was measured (docs/statistics.md)."""

MEANS_ENDS: tuple[Ends, ...] = ("percentile", "bca")
"""Alternative intervals of statistics of means. They do not hold in small samples."""

PAIRS_ENDS: tuple[Ends, ...] = ("expanded", "percentile", "bca")
"""Alternative intervals of statistics of pairs. They are too narrow for data with heavy tails."""

OfMean = Literal["expanded", "betting"]
"""The intervals of a mean that a document can register: the bootstrap interval, which holds for one look at all
sources, or a confidence sequence by betting, which holds for looks after any numbers of sources."""

LEAST_SOURCES = 30
"""Intervals hold their level from this number of sources on (coverage study, docs/statistics.md).

Data from fewer sources are a case study: estimates are shown, and no rule reads their intervals."""

Span = tuple[float, float]
"""Smallest and largest value."""


class Defect(NamedTuple):
    """A reason why an estimand is constant or undefined for all possible data.

    Attributes:
        code: code of the message.
        values: values in the message.
    """

    code: str
    values: Mapping[str, str]


def sizes_at(borders: Sequence[float]) -> list[float]:
    """Changes of both signs below, at and above each border, and 0."""
    return sorted({0.0, *(sign * border * by for border in borders for sign in (-1, 1) for by in (0.5, 1.0, 2.0))})


@dataclass(frozen=True)
class Sample:
    """The values that an estimand reads. Rows are resampled as a whole.

    Attributes:
        parts: for each filter and each column, values of shape (rows, columns), with the same rows; NaN for missing
            values.
        cells: the cell of each column of the first filter's parts. A cell occurs several times if a row has several
            units, such as clips of one source.
        strata: number of rows of each stratum, in the order of the rows. Rows are resampled within strata.
        spans: smallest and largest possible value of each part.
    """

    parts: Sequence[Floats]
    cells: Sequence[Cell]
    strata: tuple[int, ...]
    spans: Sequence[Span] = ()


class Statistic(Frozen, ABC):
    """One number computed from the table of a study.

    Class attributes:
        present_in: whether a unit must be present in every part, or in any part.
        least_sources: number of sources from which on its bootstrap interval holds its level.
        is_mean: whether its interval has the width of that of a mean over units, which determines a sample size.
        other_ends: intervals that an alternative may have in place of the registered one.
        words: templates of its texts, by code; `report.words` fills them in.
    """

    present_in: ClassVar[Literal["every", "any"]] = "every"
    least_sources: ClassVar[int] = LEAST_SOURCES
    is_mean: ClassVar[bool] = False
    other_ends: ClassVar[tuple[Method, ...]] = ()
    words: ClassVar[Mapping[str, str]]

    statistic: str
    interval: str

    @property
    def yields(self) -> Reads:
        """The kind of estimate, which a rule must be able to read."""
        return "number"

    @property
    def filter_fields(self) -> dict[str, Where]:
        """The fields that are filters, by name, in the order of the class."""
        return {name: value for name, value in self if isinstance(value, Where)}

    def filters(self) -> tuple[Where, ...]:
        """Its filters, in the order of the parts of `plan`. The default is all fields that are filters."""
        return tuple(self.filter_fields.values())

    @abstractmethod
    def columns(self) -> tuple[Name, ...]:
        """The shard columns that it reads, in the order of the parts of `plan`."""

    @abstractmethod
    def value_range(self, spans: Sequence[Span]) -> Span:
        """Smallest and largest possible value, given those of its column in each filter."""

    @abstractmethod
    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Plan the estimate: compute everything except bootstrap resamples.

        Args:
            sample: the values.
            how: level, resamples and seed.

        Returns:
            A pending estimate, or an estimate if it needs no resamples or is undefined.
        """

    def check(self, design: Design, path: str) -> None:
        """Refuse an estimand whose columns or cells are not in the design.

        Args:
            design: the design.
            path: hypothesis and name of the estimand, for the error message.

        Raises:
            ValueError: with the path and the missing column or cell, or with the strata of a betting interval.
        """
        for column in self.columns():
            design.check_column(column, path)
        for where in self.filters():
            design.check_filter(where, path)
        strata = design.strata([cell for where in self.filters() for cell in design.select(where)])
        if self.ordered and len(strata) > 1:
            raise ValueError(
                f"{path}: a betting interval needs sources of one kind, found {', '.join(strata)}: restrict the "
                "filter to one of them, or use `interval: expanded`"
            )

    def defects(self, design: Design) -> Iterator[Defect]:  # noqa: ARG002
        """Reasons why it is constant or undefined; none for most statistics."""
        return iter(())

    def on_control(self, factor: str, control: str) -> Self | None:
        """The same estimand computed on a control; None when it has no meaning on a control."""
        changed = {name: where.at(factor, control) for name, where in self.filter_fields.items()}
        return self.model_copy(update=changed)

    def meaning(self, design: Design) -> Hashable:
        """A key that is equal for two estimands that always have the same value, even if their filters differ."""
        selected = tuple((design.select(where), frozenset(where.rows or ())) for where in self.filters())
        return self.statistic, self.interval, tuple(sorted(self.columns())), selected

    def companion(self, design: Design) -> Statistic | None:  # noqa: ARG002
        """The estimand that reports print beside it, computed on the same filter; None for most statistics."""
        return None

    def possible(self, borders: Sequence[float], within: Span) -> Iterator[Estimate]:
        """Representatives of all possible estimates: value and ends at the borders and between them, in all orders.

        Args:
            borders: numbers at which outcomes change.
            within: smallest and largest possible value.
        """
        low, high = (end if math.isfinite(end) else math.copysign(1e9, end) for end in within)
        marks = sorted({low, high, *(border for border in borders if low <= border <= high)})
        points = sorted({*marks, *((one + other) / 2 for one, other in pairwise(marks))})
        for bottom, value, top in combinations_with_replacement(points, 3):
            if self.sampled or bottom == value == top:
                yield Estimate(value=value, low=bottom, high=top, n=2, method="expanded")

    @property
    def is_level(self) -> bool:
        """Whether it is the mean of one set of cells, which cells alike can also have."""
        return self.is_mean and len(self.filters()) == 1

    @property
    def sampled(self) -> bool:
        """Whether it has an interval for sampling error."""
        return self.interval != "none"

    @property
    def seeded(self) -> bool:
        """Whether its interval depends on the seed, which determines resamples, or the order of the sources."""
        return self.interval not in ("none", "jackknife", "fisher", "pooled")

    @property
    def ordered(self) -> bool:
        """Whether its interval reads the rows in their registered order, and holds after any number of rows."""
        return self.interval == "betting"

    @property
    def fewest_sources(self) -> int:
        """Number of sources from which on a rule may read its interval."""
        return 2 if self.ordered else self.least_sources


class OfOneMetric(Statistic):
    """A statistic of one metric."""

    metric: Name

    def columns(self) -> tuple[Name, ...]:
        """The metric."""
        return (self.metric,)


class Comparison(OfOneMetric):
    """A statistic of one metric in two filters, which must select different cells or rows."""

    same: ClassVar[str]
    """The value of the statistic if both filters select the same cells, as text."""

    def check(self, design: Design, path: str) -> None:
        """Also refuse two filters that select the same cells.

        Raises:
            ValueError: with the path.
        """
        super().check(design, path)
        one, other = self.filters()
        if one.rows == other.rows and design.select(one) == design.select(other):
            raise ValueError(f"{path}: both filters select the same cells, so the {self.same}")
