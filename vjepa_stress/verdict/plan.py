"""Plans of estimands: the columns and rows of a table that an estimand reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.design import Cell, Design, Where
from vjepa_stress.statistics import Statistic
from vjepa_stress.statistics.base import Sample, Span
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.order import source_rank
from vjepa_stress.verdict.rows import Rows
from vjepa_stress.verdict.table import Table


@dataclass(frozen=True)
class EstimationPlan:
    """An estimand that is prepared for tables with the same cells.

    Attributes:
        estimand: the estimand.
        parts: each filter of the estimand, with the columns of the table that it selects.
        cells: cells that the first filter selects.
        spans: smallest and largest possible value of each column in each filter.
        present: `Table.present` of the table of the plan; most tables share it.
        source, stratum: number of the source of each unit, and of the stratum of that source.
        rows: the rows of the sample, with the units that are present in every part (or in any part, see
            `Statistic.present_in`).
    """

    estimand: Statistic
    parts: tuple[tuple[Where, NDArray[np.int64]], ...]
    cells: tuple[Cell, ...]
    spans: tuple[Span, ...]
    present: NDArray[np.bool_]
    source: NDArray[np.int64]
    stratum: NDArray[np.int64]
    rows: Rows

    @classmethod
    def of(cls, estimand: Statistic, table: Table, design: Design) -> EstimationPlan:
        """Find the columns of an estimand in a table.

        Raises:
            KeyError: when the table lacks one of its cells.
        """
        chosen = [(where, design.select(where)) for where in estimand.filters()]
        parts = tuple((where, table.columns(cells)) for where, cells in chosen)
        return cls._on(estimand, parts, chosen[0][1], table, design)

    def on(self, table: Table, design: Design) -> EstimationPlan:
        """The plan for a table with the same cells and other units."""
        return self._on(self.estimand, self.parts, self.cells, table, design)

    @classmethod
    def _on(
        cls,
        estimand: Statistic,
        parts: tuple[tuple[Where, NDArray[np.int64]], ...],
        cells: tuple[Cell, ...],
        table: Table,
        design: Design,
    ) -> EstimationPlan:
        stratum = table.stratum(np.concatenate([columns for _, columns in parts]), design)
        present = [np.logical_or.reduce(table.present[:, columns], axis=1) for _, columns in parts]
        rows = Rows.of(_combine(estimand, present), table.source, stratum)
        spans = tuple(design.columns[name].range for _ in parts for name in estimand.columns())
        return cls(estimand, parts, cells, spans, table.present, table.source, stratum, rows)

    def read(self, table: Table, how: Resampling, *, strict: bool) -> PendingEstimate | Estimate:
        """Read a table and plan the estimate.

        Args:
            table: a table with the same cells, units and sources as the table of the plan.
            how: level, resamples and seed.
            strict: if true, an undefined value makes the estimate undefined; else undefined values are left out.
        """
        names = self.estimand.columns()
        if self._is_whole(table, names):
            values = [
                self.rows.arrange_columns(table.values[name], columns) for _, columns in self.parts for name in names
            ]
            return self._plan(values, self.rows, table, how)
        read = [_read(table, names, where, columns) for where, columns in self.parts]
        missing = sum(count for _, _, count in read)
        if strict and missing:
            return undefined(0, "none", Note(code="undefined-values", value=missing, columns=names))
        # Units without a value in these cells, such as those of other strata, are not observations.
        rows = Rows.of(_combine(self.estimand, [kept for _, kept, _ in read]), self.source, self.stratum)
        planned = self._plan([rows.arrange(part) for parts, _, _ in read for part in parts], rows, table, how)
        return planned.noted(Note(code="values-left-out", value=missing)) if missing else planned

    def _plan(
        self, values: Sequence[Floats], rows: Rows, table: Table, how: Resampling
    ) -> PendingEstimate | Estimate:
        if self.estimand.ordered:
            order = rows.order(source_rank(table.sources, how.seed))
            values = [part[order] for part in values]
        planned = self.estimand.plan(Sample(values, self.cells * rows.width, rows.strata, self.spans), how)
        # An alternative may have other ends than the registered ones.
        return planned.ending(self.estimand.interval).within(rows.strata)

    def _is_whole(self, table: Table, names: Sequence[str]) -> bool:
        """Whether the table has the same units present as that of the plan, without missing values or row filters."""
        return table.present is self.present and not any(
            where.rows or table.lacks(name, columns) for where, columns in self.parts for name in names
        )


def _combine(estimand: Statistic, kept: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """The units that are kept in every part, or in any part (see `Statistic.present_in`)."""
    found: NDArray[np.bool_] = (np.logical_or if estimand.present_in == "any" else np.logical_and).reduce(kept)
    return found


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
