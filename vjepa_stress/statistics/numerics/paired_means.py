"""Statistics of two means on the same units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.statistics.numerics.arrays import Floats, as_table, check_same_units
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, undefined
from vjepa_stress.statistics.numerics.resample import Ends, Groups, MeansStatistic


def compare_means(
    first: ArrayLike, second: ArrayLike, of: Callable[[Floats], Floats], ends: Ends
) -> PendingEstimate | Estimate:
    """Plan a function of two means, with a paired bootstrap: both sides of a unit are drawn together.

    Args:
        first, second: (units,) or (units, cells), with rows of the same units in the same order.
        of: the function: means of shape (2, rows) → (rows,).
        ends: method of the interval.

    Raises:
        ValueError: when the numbers of units differ.
    """
    left, right = as_table(first), as_table(second)
    check_same_units(left, right)
    if left.shape[0] < 2:
        return undefined(left.shape[0], ends, Note(code="too-few-units"))
    groups = Groups.side_by_side(left.shape[1], right.shape[1])
    return PendingEstimate(MeansStatistic(np.hstack([left, right]), groups, of), ends)
