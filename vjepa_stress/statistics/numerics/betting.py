"""Confidence sequences for the mean of bounded values, by betting.

The hedged capital of Waudby-Smith and Ramdas (2024, Estimating means of bounded random variables by betting, J. R.
Stat. Soc. B 86, theorem 3). For every candidate m of the mean, one gambler bets that the mean is larger than m, and
another one that it is smaller; both start with a capital of 1. If m is the mean, no bet that depends only on earlier
values gains on average, so that either capital ever reaches 2/α with a chance of at most α/2 (Ville's inequality).
The interval after n values holds every m at which neither capital has reached 2/α so far. Hence the intervals for all
n contain the mean together with a chance of at least 1 − α.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.statistics.numerics.arrays import Floats, as_table, unit_means, with_values
from vjepa_stress.statistics.numerics.complete import note_of_values
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, undefined

_TUNED = 0.05
"""The α for which the sizes of the bets are tuned. It is the same for intervals of all levels, so that an interval of
a higher level contains those of lower levels."""

_LARGEST = 0.75
"""Largest share of its capital that a gambler can lose on one value; the paper suggests 1/2 or 3/4.

With 3/4, intervals of values that are mostly near their mean are narrower; with 1/2, those of values that are 0 or 1.
"""

_HALVINGS = 50
"""Bisections of the range of the mean. What remains is below 1e-15 of the range."""

_ROUNDING = 1e-9
"""Means of values in a range can be outside it by rounding, by less than this share of its width."""


def betting_mean(values: ArrayLike, span: tuple[float, float], level: float = 0.95) -> Estimate:
    """Mean of a bounded variable, with an interval that may be looked at after any number of units.

    Args:
        values: (units,) or (units, cells), independent units in an order that does not depend on the values. Each
            unit is averaged over its cells first. NaN for missing values; units without a value are left out, with a
            note.
        span: smallest and largest possible value.
        level: chance that the intervals for all numbers of units contain the mean.

    Returns:
        The mean of the unit means, which can be outside the interval, and the interval. It is undefined if a value is
        outside `span`, and if no mean is left, which has a chance of at most 1 − level for units of one distribution.
    """
    table, note = as_table(values), note_of_values(values)
    return of_units(unit_means(with_values(table))[:, 0], span, level).noted(note)


def of_units(values: Floats, span: tuple[float, float], level: float) -> Estimate:
    """See `betting_mean`; for one value of each unit, (units,), none of them missing."""
    n, (bottom, top) = len(values), span
    if n < 2:
        return undefined(n, "betting", Note(code="too-few-units"))
    shares = (values - bottom) / (top - bottom)
    if ((shares < -_ROUNDING) | (shares > 1 + _ROUNDING)).any():
        return undefined(n, "betting", Note(code="out-of-range"))
    low, high = interval_of_shares(shares.clip(0, 1), level)
    if low > high:
        return undefined(n, "betting", Note(code="no-mean-left"))
    low, high = (bottom + (top - bottom) * end for end in (low, high))
    return Estimate(value=float(values.mean()), low=low, high=high, n=n, method="betting")


def interval_of_shares(shares: Floats, level: float) -> tuple[float, float]:
    """Ends of the running intersection after all values; the first is larger than the second if it is empty.

    Args:
        shares: (n,), values between 0 and 1, in order.
        level: chance that the intervals for all n contain the mean.
    """
    # A gambler who bets on a smaller mean is one who bets on a larger mean of 1 − x.
    both, sizes = np.stack([shares, 1 - shares]), bets(shares)
    needed = math.log(2 / (1 - level))
    low, high = np.zeros((2, 1)), np.ones((2, 1))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        refuted = _largest_log_capital(both, sizes, middle) >= needed
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    # The ends are the largest candidates that are refuted, so that rounding makes the interval wider.
    return float(low[0, 0]), 1 - float(low[1, 0])


def bets(shares: Floats) -> Floats:
    """Sizes of the bets on each value before they are limited, (n,). Each depends only on earlier values.

    The predictable plug-in of Waudby-Smith and Ramdas: √(2 log(2/α) / (σ² t log(t + 1))). σ² is the variance of the
    earlier values and of one further value, whose mean is 1/2 and whose variance is 1/4.
    """
    t = np.arange(1, len(shares) + 1)
    mean = (0.5 + shares.cumsum()) / (t + 1)
    variance = np.append(0.25, (0.25 + ((shares - mean) ** 2).cumsum()) / (t + 1))[:-1]
    sizes: Floats = np.sqrt(2 * math.log(2 / _TUNED) / (variance * t * np.log1p(t)))
    return sizes


def _largest_log_capital(shares: Floats, sizes: Floats, mean: Floats) -> Floats:
    """Logarithm of the largest capital so far of one who bets on more than `mean`; it decreases in `mean`.

    Args:
        shares: (k, n).
        sizes: (n,).
        mean: (k, 1), above 0.

    Returns:
        (k, 1).
    """
    gains = np.log1p(np.minimum(sizes, _LARGEST / mean) * (shares - mean))
    largest: Floats = gains.cumsum(axis=1).max(axis=1, keepdims=True)
    return largest
