"""Moments of x and y about the means of groups of columns, as functions of means over units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.pairs import by_group, correlation


def within_columns(x: Floats, y: Floats, group: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Columns whose means over units determine the moments, (units, k), and what `within_correlation` needs of them.

    Args:
        x, y: (units, columns), centred in their groups, so that squares keep their digits; NaN for no pair.
        group: (columns,), the group of each column.

    Returns:
        For each unit: sums of x², y² and xy, and for each group of x, of y and of the number of pairs. Then for each
        group the column of its number of pairs, because groups with the same units share it.
    """
    squares = [np.nansum(part, axis=1)[:, None] for part in (x**2, y**2, x * y)]
    pairs = by_group(np.isfinite(x).astype(np.float64), group)
    counts, shared = np.unique(pairs, axis=1, return_inverse=True)
    return np.hstack([*squares, by_group(x, group), by_group(y, group), counts]), shared.ravel()


def within_correlation(means: Floats, shared: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The correlation of x with y after both are centred in their groups, and the sum of squares of y after it.

    Args:
        means: (k, rows), means over units of the columns of `within_columns`.
        shared: (groups,), the column of counts of each group.

    Returns:
        (rows,) each; the sum of squares is a mean over units.
    """
    xx, yy, xy = means[:3]
    groups = len(shared)
    x, y, n = means[3 : 3 + groups], means[3 + groups : 3 + 2 * groups], means[3 + 2 * groups :]
    n = np.where(n > 0, n, 1)[shared]  # a group without a pair in a resample contributes 0
    covariance = xy - np.einsum("cr,cr->r", x, y / n)
    variances = (xx - np.einsum("cr,cr->r", x, x / n), yy - np.einsum("cr,cr->r", y, y / n))
    return correlation(covariance, variances, (xx, yy)), variances[1]
