"""Pearson correlation of two metrics within cells, with a bootstrap over units."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vjepa_stress.statistics.base import Resampled, Sample, Span
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, paired
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.pairs import (
    by_group,
    centred,
    correlation,
    is_constant,
    numbered,
    plan_means,
)
from vjepa_stress.statistics.numerics.resample import Resampling


class WithinCell(TwoMetrics):
    """Pearson correlation of two metrics after both are centred within each cell; bootstrap over units.

    Differences between the means of cells, such as those between strengths, do not contribute. Cells are centred
    again in every resample.
    """

    words: ClassVar[Mapping[str, str]] = {
        "name": "correlation within cells",
        "of": "correlation of {x} with {y} within cells",
        "over": "correlation of {x} with {y} within the cells of {where}",
        "beside": "within cells",
        "same-number": "{x} and {y} are equal when content does not move: their correlation is always 1",
    }

    statistic: Literal["within_cell"]
    interval: Resampled = "expanded"

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """The range of a correlation."""
        return -1.0, 1.0

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:  # noqa: ARG002
        """Plan a bootstrap over units."""
        return plan_within_cell(sample.parts[0], sample.parts[1], sample.cells)


def plan_within_cell(x: ArrayLike, y: ArrayLike, cells: Sequence[Hashable]) -> PendingEstimate | Estimate:
    """Plan `within_cell`."""
    left, right = paired(as_table(x), as_table(y))
    units, defined = left.shape[0], np.isfinite(left)
    pairs = int(defined.sum())
    if pairs < 3 or units < 2:
        return undefined(units, "expanded", Note(code="too-few-pairs" if pairs < 3 else "too-few-units"), pairs=pairs)
    cell = numbered(cells)
    within = [centred(part, cell) for part in (left, right)]
    if any(is_constant(part, values) for part, values in zip(within, (left, right), strict=True)):
        return undefined(units, "expanded", Note(code="constant"), pairs=pairs)
    left, right = (part / np.sqrt(np.nanmean(part**2)) for part in within)
    squares = [np.nansum(part, axis=1)[:, None] for part in (left**2, right**2, left * right)]
    # Cells with the same units share one column of counts.
    counts, shared = np.unique(by_group(defined.astype(np.float64), cell), axis=1, return_inverse=True)
    columns = np.hstack([*squares, by_group(left, cell), by_group(right, cell), counts])
    return plan_means(columns, functools.partial(_correlation, shared=shared.ravel()), pairs)


def _correlation(means: Floats, shared: NDArray[np.int64]) -> Floats:
    """r within cells from means over units of x², y², xy, and for each cell of x, of y and of the number of pairs.

    Args:
        means: (3 + 2 · cells + distinct counts, resamples).
        shared: (cells,), the column of counts of each cell.
    """
    xx, yy, xy = means[:3]
    cells = len(shared)
    x, y, n = means[3 : 3 + cells], means[3 + cells : 3 + 2 * cells], means[3 + 2 * cells :]
    n = np.where(n > 0, n, 1)[shared]  # a cell without a pair in a resample contributes 0
    covariance = xy - np.einsum("cr,cr->r", x, y / n)
    variances = (xx - np.einsum("cr,cr->r", x, x / n), yy - np.einsum("cr,cr->r", y, y / n))
    return correlation(covariance, variances, (xx, yy))


def within_cell(x: ArrayLike, y: ArrayLike, cells: Sequence[Hashable], how: Resampling | None = None) -> Estimate:
    """Pearson correlation over (unit, cell) pairs after centring within cells, with a bootstrap over units.

    Args:
        x, y: (units, columns), of the same shape; NaN for missing values.
        cells: the cell of each column. Columns of one cell are centred together.
        how: level, resamples and seed.
    """
    note = note_of_pairs(x, y)
    return evaluate([plan_within_cell(x, y, cells).noted(note)], how or Resampling())[0]
