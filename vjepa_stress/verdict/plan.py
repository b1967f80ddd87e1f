"""An estimand bound to a table: which of its columns it reads, and which rows of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.design import Cell, Design, Where
from vjepa_stress.statistics import Statistic
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.table import Table


@dataclass(frozen=True)
class EstimationPlan:
    """An estimand, ready to be computed from tables that have the same cells.

    Attributes:
        estimand: what is computed.
        parts: for each of its filters the filter and the table's columns that it selects.
        cells: those that the first filter selects.
        units: which units the table has in every part (or, as the statistic says, in any), and
        present: in which cells; most tables have the same.
    """

    estimand: Statistic
    parts: tuple[tuple[Where, NDArray[np.int64]], ...]
    cells: tuple[Cell, ...]
    units: slice | NDArray[np.bool_]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, estimand: Statistic, table: Table, design: Design) -> EstimationPlan:
        """Find an estimand's columns.

        Raises:
            KeyError: when the table lacks one of its cells.
        """
        chosen = [(where, design.select(where)) for where in estimand.filters()]
        parts = tuple((where, table.columns(cells)) for where, cells in chosen)
        combine = np.logical_or if estimand.present_in == "any" else np.logical_and
        kept = combine.reduce([table.present[:, columns].any(1) for _, columns in parts])
        return cls(estimand, parts, chosen[0][1], _rows(kept), table.present)

    def read(self, table: Table, how: Resampling, *, strict: bool) -> PendingEstimate | Estimate:
        """Read the table.

        Args:
            table: has the cells of the table that the plan was made from.
            how: level, resamples and seed.
            strict: an undefined value makes the estimate undefined; else the unit is left out where it is.
        """
        names = self.estimand.columns()
        if self._is_whole(table, names):
            values = [table.values[name][self.units][:, columns] for _, columns in self.parts for name in names]
            return self.estimand.plan(values, self.cells, how)
        read = [_read(table, names, where, columns) for where, columns in self.parts]
        holes = sum(missing for _, _, missing in read)
        if strict and holes:
            return undefined(0, "none", Note(code="undefined-values", value=holes, columns=names))
        values = [part for parts, _, _ in read for part in parts]
        if self.estimand.present_in == "every":
            # Units without any value in these cells (those of other strata) are no observations of the estimand.
            rows = functools.reduce(np.logical_and, [kept for _, kept, _ in read])
            values = [part[rows] for part in values]
        planned = self.estimand.plan(values, self.cells, how)
        return planned.noted(Note(code="values-left-out", value=holes)) if holes else planned

    def _is_whole(self, table: Table, names: Sequence[str]) -> bool:
        """Whether every unit is present where it was when the plan was made, without a hole or a filter of rows."""
        return table.present is self.present and not any(
            where.rows or table.lacks(name, columns) for where, columns in self.parts for name in names
        )


def _rows(kept: NDArray[np.bool_]) -> slice | NDArray[np.bool_]:
    """Rows that are kept; those of one stratum lie together, and need no copy."""
    places = np.flatnonzero(kept)
    together = len(places) > 0 and places[-1] - places[0] == len(places) - 1
    return slice(int(places[0]), int(places[-1]) + 1) if together else kept


def _read(
    table: Table, names: Sequence[str], where: Where, columns: NDArray[np.int64]
) -> tuple[list[Floats], NDArray[np.bool_], int]:
    """Values of each column, (units, cells), NaN where a row is filtered out; units with any; how many are undefined.

    A pair of columns is undefined where one of them is.
    """
    values = [table.values[name][:, columns] for name in names]
    present = table.present[:, columns]
    defined = np.logical_and.reduce([np.isfinite(part) for part in values])
    if where.rows:
        fulfilled = table.fulfils(where.rows, columns)
        present = present & (fulfilled != 0)  # a row without the value may or may not belong
        values = [np.where(fulfilled == 1, part, np.nan) for part in values]
        defined = defined & (fulfilled == 1)
    kept: NDArray[np.bool_] = defined.any(1)
    return values, kept, int((present & ~defined).sum())


def compute(estimand: Statistic, table: Table, design: Design, how: Resampling, *, strict: bool) -> Estimate:
    """Compute one estimand; see `EstimationPlan.read`."""
    return evaluate([EstimationPlan.of(estimand, table, design).read(table, how, strict=strict)], how)[0]
