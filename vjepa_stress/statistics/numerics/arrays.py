"""Tables of values of shape (units, cells), with NaN for missing values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def as_table(values: ArrayLike) -> Floats:
    """Values as (units, cells). Values of shape (units,) become one column."""
    table: Floats = np.asarray(values, dtype=np.float64)
    return table[:, None] if table.ndim == 1 else table


def with_values(table: Floats) -> Floats:
    """The rows of units that have a value."""
    return table[np.isfinite(table).any(axis=1)]


def count_and_mean(table: Floats, axis: int) -> tuple[NDArray[np.int64], Floats]:
    """Number of values along an axis, and their mean."""
    missing = np.isnan(table)
    with np.errstate(divide="ignore", invalid="ignore"):
        if not missing.any():
            n = np.full(table.shape[1 - axis], table.shape[axis])
            return n, table.sum(axis) / n
        n = (~missing).sum(axis)
        return n, np.where(missing, 0.0, table).sum(axis) / n


def unit_means(table: Floats) -> Floats:
    """Mean of each unit over the cells where it has a value, (units, 1); NaN for units without a value."""
    return count_and_mean(table, 1)[1][:, None]


def paired(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Both sides, with NaN where one of them has no value, and without the units that have no pair.

    Raises:
        ValueError: when the shapes differ.
    """
    if x.shape != y.shape:
        raise ValueError(f"x and y of a correlation need the same shape, found {x.shape} and {y.shape}")
    both = np.isfinite(x) & np.isfinite(y)
    kept = both.any(axis=1)
    return np.where(both, x, np.nan)[kept], np.where(both, y, np.nan)[kept]


def rows_by_unit(units: ArrayLike, *rows: ArrayLike) -> tuple[Floats, ...]:
    """Arrange rows, in any order, as tables of shape (units, maximum number of rows per unit), padded with NaN.

    Raises:
        ValueError: when the numbers of rows and units differ.
    """
    columns = [np.asarray(row, dtype=np.float64) for row in rows]
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    if any(column.shape != unit.shape for column in columns):
        raise ValueError(f"each row needs one unit, found {[c.shape for c in columns]} and {unit.shape}")
    order = np.lexsort((*columns, unit))
    sizes = np.bincount(unit, minlength=len(names))
    position = np.arange(len(unit)) - np.repeat(sizes.cumsum() - sizes, sizes)
    tables = []
    for column in columns:
        table = np.full((len(names), sizes.max(initial=0)), np.nan)
        table[unit[order], position] = column[order]
        tables.append(table)
    return tuple(tables)


def check_same_units(first: Sequence[object] | Floats, second: Sequence[object] | Floats) -> None:
    """Refuse two sides of a comparison with different numbers of units.

    Raises:
        ValueError: with both numbers.
    """
    if len(first) != len(second):
        raise ValueError(f"both sides need the same units, found {len(first)} and {len(second)} units")
