"""Plans of estimands: the columns and rows of a table that an estimand reads."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.design import Cell, Design, Where
from vjepa_stress.statistics import Statistic
from vjepa_stress.statistics.base import Sample
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.table import Table


@dataclass(frozen=True)
class EstimationPlan:
    """An estimand that is prepared for tables with the same cells.

    Attributes:
        estimand: the estimand.
        parts: each filter of the estimand, with the columns of the table that it selects.
        cells: cells that the first filter selects.
        units: units that are present in every part (or in any part, see `Statistic.present_in`).
        present: `Table.present` of the table of the plan; most tables share it.
    """

    estimand: Statistic
    parts: tuple[tuple[Where, NDArray[np.int64]], ...]
    cells: tuple[Cell, ...]
    units: slice | NDArray[np.bool_]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, estimand: Statistic, table: Table, design: Design) -> EstimationPlan:
        """Find the columns of an estimand in a table.

        Raises:
            KeyError: when the table lacks one of its cells.
        """
        chosen = [(where, design.select(where)) for where in estimand.filters()]
        parts = tuple((where, table.columns(cells)) for where, cells in chosen)
        combine = np.logical_or if estimand.present_in == "any" else np.logical_and
        kept = combine.reduce([table.present[:, columns].any(1) for _, columns in parts])
        return cls(estimand, parts, chosen[0][1], _rows(kept), table.present)

    def read(self, table: Table, how: Resampling, *, strict: bool) -> PendingEstimate | Estimate:
        """Read a table and plan the estimate.

        Args:
            table: a table with the same cells as the table of the plan.
            how: level, resamples and seed.
            strict: if true, an undefined value makes the estimate undefined; else undefined values are left out.
        """
        names = self.estimand.columns()
        if self._is_whole(table, names):
            values = [table.values[name][self.units][:, columns] for _, columns in self.parts for name in names]
            return self._plan(values, how)
        read = [_read(table, names, where, columns) for where, columns in self.parts]
        missing = sum(count for _, _, count in read)
        if strict and missing:
            return undefined(0, "none", Note(code="undefined-values", value=missing, columns=names))
        values = [part for parts, _, _ in read for part in parts]
        if self.estimand.present_in == "every":
            # Units without a value in these cells, such as those of other strata, are not observations.
            rows = functools.reduce(np.logical_and, [kept for _, kept, _ in read])
            values = [part[rows] for part in values]
        planned = self._plan(values, how)
        return planned.noted(Note(code="values-left-out", value=missing)) if missing else planned

    def _plan(self, values: Sequence[Floats], how: Resampling) -> PendingEstimate | Estimate:
        sample = Sample(values, self.cells, (len(values[0]),))
        planned = self.estimand.plan(sample, how)
        return planned.within(sample.strata) if isinstance(planned, PendingEstimate) else planned

    def _is_whole(self, table: Table, names: Sequence[str]) -> bool:
        """Whether the table has the same units present as that of the plan, without missing values or row filters."""
        return table.present is self.present and not any(
            where.rows or table.lacks(name, columns) for where, columns in self.parts for name in names
        )


def _rows(kept: NDArray[np.bool_]) -> slice | NDArray[np.bool_]:
    """Index of the kept rows; a slice if they are contiguous, which avoids a copy."""
    rows = np.flatnonzero(kept)
    contiguous = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
    return slice(int(rows[0]), int(rows[-1]) + 1) if contiguous else kept


def _read(
    table: Table, names: Sequence[str], where: Where, columns: NDArray[np.int64]
) -> tuple[list[Floats], NDArray[np.bool_], int]:
    """Values of each column, (units, cells), NaN for filtered rows; units with a value; number of undefined values.

    A value is undefined if it is undefined in one of the columns.
    """
    values = [table.values[name][:, columns] for name in names]
    present = table.present[:, columns]
    defined = np.logical_and.reduce([np.isfinite(part) for part in values])
    if where.rows:
        fulfilled = table.fulfils(where.rows, columns)
        present = present & (fulfilled != 0)  # a row whose condition is undefined counts as undefined
        values = [np.where(fulfilled == 1, part, np.nan) for part in values]
        defined = defined & (fulfilled == 1)
    kept: NDArray[np.bool_] = defined.any(1)
    return values, kept, int((present & ~defined).sum())


def compute(estimand: Statistic, table: Table, design: Design, how: Resampling, *, strict: bool) -> Estimate:
    """Compute one estimand; see `EstimationPlan.read`."""
    return evaluate([EstimationPlan.of(estimand, table, design).read(table, how, strict=strict)], how)[0]
