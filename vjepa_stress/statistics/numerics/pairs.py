"""Sums over the pairs of x and y, by unit and group of columns, and what is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import PendingEstimate
from vjepa_stress.statistics.numerics.resample import Ends, Groups, MeansStatistic

CONSTANT = 1e-12
"""A sum of squares below this share of the uncentred one is treated as 0, because it is rounding error."""


def numbered(labels: Sequence[Hashable]) -> NDArray[np.int64]:
    """The group of each column, from 0 in the order of the labels: columns with equal labels share a group."""
    known = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([known[label] for label in labels], dtype=np.int64)


def by_group(table: Floats, group: NDArray[np.int64]) -> Floats:
    """Sums of each unit over the columns of each group, (units, groups); missing values count as 0."""
    members = np.eye(int(group.max(initial=-1)) + 1)[group]
    sums: Floats = np.nan_to_num(table) @ members
    return sums


def centred(table: Floats, group: NDArray[np.int64]) -> Floats:
    """Values minus the mean of their group over all units."""
    n, sums = by_group(np.isfinite(table).astype(np.float64), group).sum(0), by_group(table, group).sum(0)
    means: Floats = sums / np.where(n > 0, n, 1)
    return table - means[group]


def is_constant(deviations: Floats, values: Floats) -> bool:
    """Whether deviations of values from their means are only rounding error."""
    return bool(np.nansum(deviations**2) <= CONSTANT**2 * np.nansum(values**2))


def correlation(covariance: Floats, variances: tuple[Floats, Floats], squares: tuple[Floats, Floats]) -> Floats:
    """Pearson's r; NaN if x or y is constant.

    Args:
        covariance: (resamples,), of x and y.
        variances: (resamples,) each, of x and of y.
        squares: the same without centring. They show whether a variance is only rounding error.
    """
    (x_variance, y_variance), (xx, yy) = variances, squares
    constant = (x_variance <= CONSTANT * xx) | (y_variance <= CONSTANT * yy)
    r: Floats = np.where(constant, np.nan, covariance / np.sqrt(x_variance * y_variance))
    return r.clip(-1, 1)


def of_columns(columns: Floats, of: Callable[[Floats], Floats]) -> MeansStatistic:
    """A statistic of the means of columns over units.

    Args:
        columns: (units, k), without missing values.
        of: the statistic: means of the columns over units, (k, rows) → (rows,).
    """
    return MeansStatistic(columns, Groups.side_by_side(*[1] * columns.shape[1]), of)


def standardised(table: Floats) -> Floats:
    """Values with mean 0 and standard deviation 1, because moments of values far from 0 lose digits."""
    defined = np.isfinite(table)
    scaled: Floats = (table - table[defined].mean()) / table[defined].std()
    return scaled


def plan_share(squares: Floats, y: Floats, of: Callable[[Floats], Floats], ends: Ends, pairs: int) -> PendingEstimate:
    """Plan a bootstrap over units of a function of a share of the total sum of squares of y about its mean.

    Args:
        squares: (units, columns), terms of the part, in units of y²; NaN where there is no pair.
        y: (units, columns), with mean 0.
        of: the function: shares (resamples,) → (resamples,).
        ends: method of the interval.
        pairs: number of pairs.
    """
    columns = np.column_stack([np.nansum(part, axis=1) for part in (squares, y**2)])
    return PendingEstimate(of_columns(columns, lambda means: of(means[0] / means[1])), ends, pairs=pairs)
