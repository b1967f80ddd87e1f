"""Confidence sequences by betting: how often any look excludes the mean, and widths beside those for one look.

python -m tests.bench betting
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vjepa_stress.statistics.numerics.betting import interval_of_shares

Floats = NDArray[np.float64]

ALPHA, LONGEST, LOOKS, FIRST = 0.05, 200, (60, 100, 200), 30
SIZES = (30, 60, 100, 200)

FAMILIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "0 or 1, mean 0.1": lambda chance, shape: chance.binomial(1, 0.1, shape).astype(np.float64),
    "0 or 1, mean 0.5": lambda chance, shape: chance.binomial(1, 0.5, shape).astype(np.float64),
    "beta(0.5, 3)": lambda chance, shape: chance.beta(0.5, 3, shape),
    "normal(0.2, 0.3), clipped": lambda chance, shape: (0.2 + 0.3 * chance.standard_normal(shape)).clip(0, 1),
    "beta with mean 0.5, sd 0.05": lambda chance, shape: chance.beta(49.5, 49.5, shape),
}
"""Values between 0 and 1. The last one is like the difference of two cells: narrow in its range."""

MEANS = {
    "0 or 1, mean 0.1": 0.1,
    "0 or 1, mean 0.5": 0.5,
    "beta(0.5, 3)": 0.5 / 3.5,
    "normal(0.2, 0.3), clipped": float(stats.norm(0.2, 0.3).expect(lambda x: min(max(x, 0), 1))),
    "beta with mean 0.5, sd 0.05": 0.5,
}


def half_widths(values: Floats) -> dict[str, Floats]:
    """Half-widths of intervals for one look, after each number of values, (studies, n)."""
    n = np.arange(1, values.shape[1] + 1)
    means = values.cumsum(axis=1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt(((values**2).cumsum(axis=1) / n - means**2).clip(0) * n / (n - 1))
        return {
            "t": stats.t.ppf(1 - ALPHA / 2, n - 1) * sd / np.sqrt(n),
            # Maurer and Pontil (2009), theorem 4, on both sides
            "bernstein": sd * np.sqrt(2 * math.log(4 / ALPHA) / n) + 7 * math.log(4 / ALPHA) / (3 * (n - 1)),
            "hoeffding": np.broadcast_to(np.sqrt(math.log(2 / ALPHA) / (2 * n)), values.shape),
        }


def measured(studies: int = 4000) -> dict[str, Any]:
    """Shares of studies in which a look excludes the mean, and mean widths in the range [0, 1]."""
    excluded: dict[str, dict[str, float]] = {}
    widths: dict[str, dict[str, dict[str, float]]] = {}
    for number, (family, draw) in enumerate(FAMILIES.items()):
        values, mean = draw(np.random.default_rng([5, number]), (studies, LONGEST)), MEANS[family]
        ends = np.array([interval_of_shares(one, 1 - ALPHA) for one in values])
        half = half_widths(values)
        missed = np.abs(values.cumsum(axis=1) / np.arange(1, LONGEST + 1) - mean) > half["t"]
        excluded[family] = {
            "betting": float(((ends[:, 0] > mean) | (ends[:, 1] < mean)).mean()),
            "t_at_looks": float(missed[:, [n - 1 for n in LOOKS]].any(axis=1).mean()),
            "t_always": float(missed[:, FIRST - 1 :].any(axis=1).mean()),
        }
        some = values[:400]
        widths[family] = {
            str(n): {
                "betting": float(
                    np.mean([np.subtract(*interval_of_shares(one[:n], 1 - ALPHA)[::-1]) for one in some])
                ),
                **{name: float(2 * part[:400, n - 1].mean()) for name, part in half.items()},
            }
            for n in SIZES
        }
    return {
        "studies": studies,
        "standard_error": math.sqrt(ALPHA * (1 - ALPHA) / studies),
        "level": 1 - ALPHA,
        "longest": LONGEST,
        "looks": LOOKS,
        "first": FIRST,
        "excluded": excluded,
        "widths": widths,
    }
