"""Preparation of arrays from callers: units without values are left out, with a note."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.statistics.numerics.arrays import Floats, as_table, check_same_units
from vjepa_stress.statistics.numerics.estimate import Note


def complete(*sides: ArrayLike) -> tuple[list[Floats], Note | None]:
    """Tables of the units that have a value on every side, and a note on the values left out.

    Args:
        sides: (units,) or (units, cells) each, with rows of the same units in the same order; NaN for missing values.

    Raises:
        ValueError: when the numbers of units differ, or for an infinite value.
    """
    tables = [as_table(side) for side in sides]
    for table in tables[1:]:
        check_same_units(tables[0], table)
    kept = np.logical_and.reduce([np.isfinite(table).any(axis=1) for table in tables])
    return [table[kept] for table in tables], note_of_values(*tables)


def note_of_pairs(x: ArrayLike, y: ArrayLike) -> Note | None:
    """A note on the pairs left out because one of their values is missing.

    Args:
        x, y: arrays of the same shape; NaN for missing values.

    Raises:
        ValueError: for an infinite value, or different shapes.
    """
    left, right = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"a correlation needs pairs, found shapes {left.shape} and {right.shape}")
    _check_finite(left, right)
    return _note(int((np.isnan(left) | np.isnan(right)).sum()))


def note_of_values(*sides: ArrayLike) -> Note | None:
    """A note on the missing values of several arrays.

    Args:
        sides: arrays of any shape; NaN for missing values.

    Raises:
        ValueError: for an infinite value.
    """
    arrays = [np.asarray(side, dtype=np.float64) for side in sides]
    _check_finite(*arrays)
    return _note(sum(int(np.isnan(array).sum()) for array in arrays))


def _check_finite(*arrays: Floats) -> None:
    if any(np.isinf(array).any() for array in arrays):
        raise ValueError("values must be finite; use NaN for missing values")


def _note(left_out: int) -> Note | None:
    return Note(code="values-left-out", value=left_out) if left_out else None
