"""Simultaneous intervals of several paired means, by the bootstrap of the largest t."""

from __future__ import annotations

import numpy as np

from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.resample import Resampling, unit_counts

_ROUNDING = 1e-9
"""A standard deviation below this share of the root mean square is treated as 0, because it is rounding error."""


def simultaneous_half_widths(changes: Floats, how: Resampling, strata: tuple[int, ...] = ()) -> Floats:
    """Half-widths of intervals that hold for all columns together.

    The half-width of a column is c · s/√n, where c is the quantile, at the level, of the largest |t| over all columns
    in the resamples (Westfall & Young 1993; Romano & Wolf 2005). All columns use the same resampled units, so their
    dependence is kept.

    Args:
        changes: (units, columns), at least two values per column; NaN for missing values.
        how: level, resamples and seed.
        strata: numbers of units of consecutive strata; empty for one stratum.

    Returns:
        (columns,); 0 for a column without variation; NaN if the quantile is undefined.
    """
    defined = np.isfinite(changes)
    n, mean, spread = _moments(defined.sum(0)[None], changes, np.ones((1, len(changes))))
    varies = spread[0] > _ROUNDING * np.sqrt(np.nanmean(changes**2, axis=0))
    half = np.zeros(changes.shape[1])
    if not varies.any():
        return half
    counts = unit_counts(len(changes), how.resamples, how.seed, strata)
    chosen = changes[:, varies] - mean[0, varies]
    drawn_n, drawn_mean, drawn_spread = _moments(counts @ defined[:, varies], chosen, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(drawn_mean) / (drawn_spread / np.sqrt(drawn_n))
    # A resample of equal values has no t. It is as extreme as possible, unless its mean is that of the sample.
    t = np.where(np.isnan(t), np.where(drawn_mean == 0, 0.0, np.inf), t)
    quantile = np.quantile(t.max(axis=1), how.level, method="higher")
    half[varies] = (quantile * spread[0] / np.sqrt(n[0]))[varies]
    return half


def _moments(n: Floats, values: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Number, mean and standard deviation of each column in each resample, (resamples, columns) each."""
    filled = np.where(np.isnan(values), 0.0, values)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = counts @ filled / n
        spread = np.sqrt(np.maximum(counts @ filled**2 / n - mean**2, 0.0) * n / (n - 1))
    return n.astype(np.float64), mean, spread
