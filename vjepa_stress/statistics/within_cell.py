"""Pearson correlation of two metrics within cells, with a jackknife over units."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vjepa_stress.statistics.base import PAIRS_ENDS, Jackknifed, Sample, Span
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, paired
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.jackknife import estimate_of, on_fisher_scale
from vjepa_stress.statistics.numerics.pairs import centred, is_constant, numbered, of_columns
from vjepa_stress.statistics.numerics.resample import Ends, Resampling
from vjepa_stress.statistics.numerics.within import within_columns, within_correlation


class WithinCell(TwoMetrics):
    """Pearson correlation of two metrics after both are centred within each cell; jackknife over units.

    Differences between the means of cells, such as those between strengths, do not contribute. Cells are centred
    again without each unit. The interval is on the scale of Fisher's z.
    """

    other_ends: ClassVar[tuple[Method, ...]] = PAIRS_ENDS

    words: ClassVar[Mapping[str, str]] = {
        "name": "correlation within cells",
        "of": "correlation of {x} with {y} within cells",
        "over": "correlation of {x} with {y} within the cells of {where}",
        "beside": "within cells",
        "same-number": "{x} and {y} are equal when content does not move: their correlation is always 1",
    }

    statistic: Literal["within_cell"]
    interval: Jackknifed = "jackknife"

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """The range of a correlation."""
        return -1.0, 1.0

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Compute it with a jackknife over units."""
        x, y = sample.parts
        return plan_within_cell(x, y, sample.cells, how.level, self.interval, sample.strata)


def plan_within_cell(
    x: ArrayLike,
    y: ArrayLike,
    cells: Sequence[Hashable],
    level: float,
    interval: Jackknifed | Ends = "jackknife",
    strata: tuple[int, ...] = (),
) -> PendingEstimate | Estimate:
    """Compute `within_cell` with a jackknife, or plan it with a bootstrap."""
    left, right = paired(as_table(x), as_table(y))
    units, pairs = left.shape[0], int(np.isfinite(left).sum())
    if pairs < 3 or units < 2:
        return undefined(units, interval, Note(code="too-few-pairs" if pairs < 3 else "too-few-units"), pairs=pairs)
    cell = numbered(cells)
    within = [centred(part, cell) for part in (left, right)]
    if any(is_constant(part, values) for part, values in zip(within, (left, right), strict=True)):
        return undefined(units, interval, Note(code="constant"), pairs=pairs)
    left, right = (part / np.sqrt(np.nanmean(part**2)) for part in within)
    columns, shared = within_columns(left, right, cell)
    statistic = of_columns(columns, functools.partial(_correlation, shared=shared))
    if interval != "jackknife":
        return PendingEstimate(statistic, interval, pairs=pairs)
    r, without = statistic.value(), statistic.leaving_one_out()
    return estimate_of(r, without, on_fisher_scale(r, without, level, strata), pairs)


def _correlation(means: Floats, shared: NDArray[np.int64]) -> Floats:
    return within_correlation(means, shared)[0]


def within_cell(
    x: ArrayLike,
    y: ArrayLike,
    cells: Sequence[Hashable],
    how: Resampling | None = None,
    *,
    interval: Jackknifed | Ends = "jackknife",
) -> Estimate:
    """Pearson correlation over (unit, cell) pairs after centring within cells.

    Args:
        x, y: (units, columns), of the same shape; NaN for missing values.
        cells: the cell of each column. Columns of one cell are centred together.
        how: level, resamples and seed.
        interval: jackknife over units, or the ends of a bootstrap over units.
    """
    how, note = how or Resampling(), note_of_pairs(x, y)
    return evaluate([plan_within_cell(x, y, cells, how.level, interval).noted(note)], how)[0]
