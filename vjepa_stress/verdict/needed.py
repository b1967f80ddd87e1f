"""The cells and columns that estimands read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vjepa_stress.design import Cell, Design
from vjepa_stress.statistics import Statistic

Needed = Mapping[Cell, frozenset[str]]
"""The columns that are needed in each cell."""


def needed_by(estimands: Iterable[Statistic], design: Design) -> dict[Cell, frozenset[str]]:
    """The columns that some estimands read in each cell, including those of conditions, in the order of cells."""
    needed: dict[Cell, set[str]] = {}
    for estimand in estimands:
        for where in estimand.filters():
            columns = {*estimand.columns(), *(condition.column for condition in where.rows or ())}
            for cell in design.select(where):
                needed.setdefault(cell, set()).update(columns)
    return {cell: frozenset(needed[cell]) for cell in sorted(needed, key=Cell.order)}


def columns_of(needed: Needed) -> tuple[str, ...]:
    """All columns that are needed in some cell, sorted."""
    return tuple(sorted(set().union(*needed.values())))


def cells_of(estimand: Statistic, design: Design) -> list[Cell]:
    """The cells that an estimand reads, in the order of the design."""
    cells = {cell for where in estimand.filters() for cell in design.select(where)}
    return [cell for cell in design.cells if cell in cells]
