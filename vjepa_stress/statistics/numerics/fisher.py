"""Fisher's z interval of a correlation."""

from __future__ import annotations

import math

from scipy import special


def fisher_ci(r: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Fisher's z interval of a Pearson correlation: tanh(atanh r ∓ z/√(n − 3)).

    Args:
        r: correlation in [−1, 1].
        n: number of independent pairs.
        level: coverage.

    Returns:
        The ends of the interval; (−1, 1) for n ≤ 3, (r, r) for |r| = 1.

    Raises:
        ValueError: for a correlation outside [−1, 1].
    """
    if not -1 <= r <= 1:
        raise ValueError(f"a correlation must be in [-1, 1], found {r}")
    if abs(r) == 1:
        return r, r
    if n <= 3:
        return -1.0, 1.0
    half = float(special.ndtri((1 + level) / 2)) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
