"""Spearman correlation of cell means with a numeric factor, and the change between its ends."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, pairwise, product
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Where
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import MEANS_ENDS, Defect, OfOneMetric, Resampled, Sample, Span, sizes_at
from vjepa_stress.statistics.numerics.arrays import Floats, as_table
from vjepa_stress.statistics.numerics.complete import complete
from vjepa_stress.statistics.numerics.estimate import (
    Estimate,
    Method,
    Note,
    PendingEstimate,
    Reads,
    Step,
    evaluate,
    undefined,
)
from vjepa_stress.statistics.numerics.ranks import spearman_rho
from vjepa_stress.statistics.numerics.resample import Ends, Groups, MeansStatistic, Resampling

_LEVELS = 3
"""With fewer levels, a trend can only be -1 or 1."""


class Trend(OfOneMetric):
    """Spearman correlation of cell means with the levels of a numeric factor.

    It has no interval: a rank correlation of a few means is discrete, and no bootstrap interval of it holds. The
    change of the mean from the lowest level to the highest has one, by a bootstrap over units. Cells that share a
    level are pooled into one mean; a cell without a level counts as level 0.
    """

    other_ends: ClassVar[tuple[Method, ...]] = MEANS_ENDS
    words: ClassVar[Mapping[str, str]] = {
        "name": "trend",
        "of": "Spearman correlation of mean {metric} with {along}",
        "over": "Spearman correlation of mean {metric} with {along}, over {where}",
        "too-few-levels": "a trend over {levels} levels of {along} can only be -1 or 1: use 3 or more levels",
    }

    statistic: Literal["trend"]
    along: Name
    where: Where
    interval: Resampled = "expanded"

    @property
    def yields(self) -> Reads:
        """A rank correlation with the interval of the whole change."""
        return "trend"

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """The range of a correlation."""
        return -1.0, 1.0

    def check(self, design: Design, path: str) -> None:
        """Also refuse a factor that is not numeric.

        Raises:
            ValueError: with the path and the numeric factors.
        """
        design.check_numeric(self.along, path)
        super().check(design, path)

    def defects(self, design: Design) -> Iterator[Defect]:
        """Too few levels."""
        levels = {cell[self.along] for cell in design.select(self.where)} - {None}
        if len(levels) < _LEVELS:
            yield Defect("too-few-levels", {"levels": str(len(levels)), "along": self.along})

    def possible(self, borders: Sequence[float], within: Span) -> Iterator[Estimate]:
        """Rank correlations at and between the borders, each with changes of both signs, short and long."""
        low, high = within
        marks = sorted({low, high, *(border for border in borders if low <= border <= high)})
        ranks = sorted({*marks, *((one + other) / 2 for one, other in pairwise(marks))})
        sizes = sizes_at(borders)
        for rank, (bottom, top) in product(ranks, combinations_with_replacement(sizes, 2)):
            change = Step(value=(bottom + top) / 2, low=bottom, high=top, n=2)
            yield Estimate(value=rank, low=rank, high=rank, n=2, method="expanded", overall=change)

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:  # noqa: ARG002
        """Plan a bootstrap over units."""
        return plan_trend(sample.parts[0], [float(cell[self.along] or 0.0) for cell in sample.cells], self.interval)


def plan_trend(values: ArrayLike, levels: Sequence[float], ends: Ends = "expanded") -> PendingEstimate | Estimate:
    """Plan `trend`."""
    table = as_table(values)
    distinct, groups = _grouped(tuple(levels))
    if len(distinct) < _LEVELS:
        return undefined(table.shape[0], ends, Note(code="too-few-levels"))
    if table.shape[0] < 2:
        return undefined(table.shape[0], ends, Note(code="too-few-units"))
    rank = MeansStatistic(table, groups, lambda means: spearman_rho(means.T, distinct[None])).value()
    if not math.isfinite(rank):
        return undefined(table.shape[0], ends, Note(code="no-value"))
    change = MeansStatistic(table, groups, lambda means: means[-1] - means[0])
    return PendingEstimate(change, ends, rank=rank)


@functools.lru_cache(maxsize=64)
def _grouped(levels: tuple[float, ...]) -> tuple[Floats, Groups]:
    """The distinct levels, and the group of cells of each level."""
    distinct, level = np.unique(np.asarray(levels, dtype=np.float64), return_inverse=True)
    return distinct, Groups.of(*level.tolist())


def trend(
    values: ArrayLike,
    strengths: Sequence[float],
    how: Resampling | None = None,
    *,
    interval: Ends = "expanded",
) -> Estimate:
    """Spearman correlation of cell means with strength; `overall` is the change from the lowest strength to the top.

    Args:
        values: (units, cells); NaN for missing values. Units without a value are left out, with a note in the
            estimate.
        strengths: one per cell; cells with the same strength are pooled.
        how: level, resamples and seed.
        interval: method of the interval of the change.

    Returns:
        The rank correlation, without an interval (both ends equal it). `overall` has the change and its interval.
    """
    (table,), note = complete(values)
    planned = plan_trend(table, strengths, interval)
    return evaluate([planned.noted(note)], how or Resampling())[0]
