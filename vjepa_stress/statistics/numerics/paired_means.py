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
    """A function of two means, resampled with both sides of a unit together.

    Args:
        first, second: (units,) or (units, cells), rows of the same units in the same order.
        of: (2, rows) means → (rows,).
        ends: how the interval ends.

    Raises:
        ValueError: when the sides do not have as many units.
    """
    one, other = as_table(first), as_table(second)
    check_same_units(one, other)
    if one.shape[0] < 2:
        return undefined(one.shape[0], ends, Note(code="too-few-units"))
    groups = Groups.side_by_side(one.shape[1], other.shape[1])
    return PendingEstimate(MeansStatistic(np.hstack([one, other]), groups, of), ends, ends)
