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
    left_out = sum(int(np.isnan(table).sum()) for table in tables)
    for table in tables:
        if np.isinf(table).any():
            raise ValueError("values must be finite; use NaN for missing values")
    note = Note(code="values-left-out", value=left_out) if left_out else None
    return [table[kept] for table in tables], note
