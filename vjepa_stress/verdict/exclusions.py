"""Exclusions: the share of positions that a metric leaves out because a vector is zero, compared between models.

It is a finding, not a verdict. Models whose means are over different positions are not compared like with like: raw
pixels under frame drops lose most of their temporal gradients, and an encoder loses none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vjepa_stress.design import Cell
from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.verdict.table import Table

LARGEST_DIFFERENCE = 0.05
"""Largest difference of the shares that is not warned about, from 0 to 1.

If the positions that are left out differ from the others by 0.4 on average, a mean over positions changes by
0.05 · 0.4 = 0.02, the size of the smallest effects that the studies report.
"""


@dataclass(frozen=True)
class Exclusion:
    """The shares of positions that are left out, in cells that differ only in the model.

    Attributes:
        column: the metric column.
        cell: the levels that the cells share, without the model.
        shares: model → share of its positions that are left out, from 0 to 1, in order of size.
    """

    column: str
    cell: Cell
    shares: dict[str, float]

    @property
    def difference(self) -> float:
        """Largest share minus smallest share."""
        return max(self.shares.values()) - min(self.shares.values())

    @property
    def differs(self) -> bool:
        """Whether the shares differ by more than `LARGEST_DIFFERENCE`."""
        return self.difference > LARGEST_DIFFERENCE


def exclusions(table: Table, design: VideoDesign) -> tuple[Exclusion, ...]:
    """The shares of all metrics with counts, for each group of two or more cells that differ only in the model.

    Args:
        table: the shards, with the counts of each metric. A metric without counts is skipped.
        design: the design.
    """
    return tuple(_exclusions(table, design))


def differ(table: Table, column: str, cells: Sequence[Cell]) -> bool:
    """Whether the shares of a column differ by more than `LARGEST_DIFFERENCE` between some cells.

    Cells without counts or without positions are skipped.
    """
    shares = [share for cell in cells if (share := _share(table, column, cell)) is not None]
    return bool(shares) and max(shares) - min(shares) > LARGEST_DIFFERENCE


def _exclusions(table: Table, design: VideoDesign) -> Iterator[Exclusion]:
    known, grouped = set(table.cells), dict[Cell, dict[str, VideoCell]]()
    for cell in design.cells:
        if cell in known:
            grouped.setdefault(cell.without("model"), {})[cell.model] = cell
    for column, metric in design.columns.items():
        if metric.compares != "positions":
            continue
        for shared, cells in grouped.items():
            by_model = {
                model: share
                for model in design.models_by_size
                if model in cells and (share := _share(table, column, cells[model])) is not None
            }
            if len(by_model) > 1:
                yield Exclusion(column, shared, by_model)


def _share(table: Table, column: str, cell: Cell) -> float | None:
    """Share of the positions of all clips of a cell that are left out; None without counts or positions."""
    counts = [f"{column}_{count}" for count in ("n", "n_both_zero", "n_one_zero")]
    if not set(counts) <= table.values.keys():
        return None
    n, both_zero, one_zero = (float(np.nansum(table.take(count, [cell])[0])) for count in counts)
    return (both_zero + one_zero) / n if n > 0 else None
