"""Spearman correlation of cell means with a numeric factor, with a bootstrap over units."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Where
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import Defect, OfOneMetric, Resampled, Sample, Span
from vjepa_stress.statistics.numerics.arrays import Floats, as_table
from vjepa_stress.statistics.numerics.complete import complete
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.ranks import spearman_rho
from vjepa_stress.statistics.numerics.resample import Ends, Groups, MeansStatistic, Resampling

_LEVELS = 3
"""With fewer levels, a trend can only be -1 or 1."""


class Trend(OfOneMetric):
    """Spearman correlation of cell means with the levels of a numeric factor; bootstrap over units.

    Cells that share a level are pooled into one mean; a cell without a level counts as level 0.
    """

    words: ClassVar[Mapping[str, str]] = {
        "name": "trend",
        "of": "Spearman correlation of mean {metric} with {along}",
        "over": "Spearman correlation of mean {metric} with {along}, over {where}",
        "too-few-levels": "a trend over {levels} levels of {along} can only be -1 or 1: use 3 or more levels",
    }

    statistic: Literal["trend"]
    along: Name
    where: Where
    interval: Resampled = "percentile"

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

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:  # noqa: ARG002
        """Plan a bootstrap over units."""
        return plan_trend(sample.parts[0], [float(cell[self.along] or 0.0) for cell in sample.cells], self.interval)


def plan_trend(values: ArrayLike, levels: Sequence[float], ends: Ends = "percentile") -> PendingEstimate | Estimate:
    """Plan `trend`."""
    table = as_table(values)
    distinct, groups = _grouped(tuple(levels))
    if len(distinct) < _LEVELS:
        return undefined(table.shape[0], ends, Note(code="too-few-levels"))
    if table.shape[0] < 2:
        return undefined(table.shape[0], ends, Note(code="too-few-units"))
    along = distinct[None]
    return PendingEstimate(MeansStatistic(table, groups, lambda means: spearman_rho(means.T, along)), ends, ends)


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
    interval: Ends = "percentile",
) -> Estimate:
    """Spearman correlation of cell means with strength, with a bootstrap over units.

    Args:
        values: (units, cells); NaN for missing values. Units without a value are left out, with a note in the
            estimate.
        strengths: one per cell; cells with the same strength are pooled.
        how: level, resamples and seed.
        interval: percentile or BCa ends.
    """
    (table,), note = complete(values)
    planned = plan_trend(table, strengths, interval)
    return evaluate([planned.noted(note)], how or Resampling())[0]
