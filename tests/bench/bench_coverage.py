"""Coverage of every interval that a study can register, over five families of data.

python -m tests.bench coverage
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from vjepa_stress.statistics.jumps import jumps
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, evaluate
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.pearson import plan_pearson
from vjepa_stress.statistics.ratio_of_means import plan_ratio
from vjepa_stress.statistics.spearman import spearman
from vjepa_stress.verdict.estimate import bootstrap_mean, difference, trend

Floats = NDArray[np.float64]

SIZES = (6, 10, 20, 30, 200)
"""Numbers of sources. `check` refuses fewer than 30."""

CELLS, WITHIN, ASSOCIATION = 5, 0.6, 0.5
"""Cells per source; correlation of the normal scores of a source in two cells; and of two metrics in one cell."""

RESAMPLES = 1000

FAMILIES: dict[str, Callable[[Floats], Floats]] = {
    "normal": lambda scores: 3 + scores,
    "t3": lambda scores: 6 + special.stdtrit(3, special.ndtr(scores.clip(-8, 8))),
    "lognormal": lambda scores: np.exp(0.5 * scores),
    "beta": lambda scores: special.betaincinv(0.5, 3, special.ndtr(scores)),
    "clipped": lambda scores: (0.2 + 0.3 * scores).clip(0, 1),
}
"""Values at normal scores. Skewness: 0, 0, 1.8, 1.6, 0.9. In `clipped`, one value in four is exactly 0."""


@functools.cache
def truth(family: str) -> dict[str, float]:
    """Mean, Pearson's and Spearman's correlation of the population, by quadrature."""
    nodes = (np.arange(4001) - 2000) / 250
    weights = stats.norm.pdf(nodes)
    weights /= weights.sum()
    of = FAMILIES[family]
    values = of(nodes)
    mean = float(weights @ values)
    # Mid-distribution function: ties have their mean rank.
    below = np.array([weights @ ((values < value) + 0.5 * (values == value)) for value in values[::20]])
    ranks = np.interp(nodes, nodes[::20], below)
    coarse, share = nodes[::20], weights[::20] / weights[::20].sum()
    joint = ASSOCIATION * coarse[:, None] + math.sqrt(1 - ASSOCIATION**2) * coarse[None]

    def correlation(function: Callable[[Floats], Floats]) -> float:
        x, y = function(coarse), function(joint)
        centre = share @ x
        return float(share @ ((x[:, None] - centre) * (y - centre)) @ share / (share @ (x - centre) ** 2))

    return {
        "mean": mean,
        "pearson": correlation(of),
        "spearman": correlation(lambda scores: np.interp(scores, nodes, ranks)),
    }


def scores(chance: np.random.Generator, n: int, parts: int) -> Floats:
    """Normal scores, (parts, n, cells). Any two scores of a source have the correlation `WITHIN`."""
    shared, own = chance.standard_normal((1, n, 1)), chance.standard_normal((parts, n, CELLS))
    drawn: Floats = math.sqrt(WITHIN) * shared + math.sqrt(1 - WITHIN) * own
    return drawn


def estimates(chance: np.random.Generator, family: str, n: int, how: Resampling) -> dict[str, bool]:
    """One replicate: whether each interval contains the true value."""
    of, true = FAMILIES[family], truth(family)
    one, other, third = map(of, scores(chance, n, 3))
    rise = np.linspace(0, 0.4, CELLS)
    pair = chance.standard_normal((2, n, 1)), chance.standard_normal((2, n, CELLS))
    for part in pair:
        part[1] = ASSOCIATION * part[0] + math.sqrt(1 - ASSOCIATION**2) * part[1]
    x, y = map(of, math.sqrt(WITHIN) * pair[0] + math.sqrt(1 - WITHIN) * pair[1])
    change = trend(one + rise, rise.tolist(), how).overall
    curve = jumps([one, other + 0.1, third + 0.3], how, interval="max-t")
    assert curve.overall is not None
    assert change is not None
    steps = zip((*curve.steps, curve.overall), (0.1, 0.2, 0.3), strict=True)

    def held(found: Estimate, value: float) -> bool:
        return found.low is not None and found.high is not None and found.low <= value <= found.high

    def planned(one: PendingEstimate | Estimate) -> Estimate:
        return evaluate([one], how)[0]

    return {
        "mean": held(bootstrap_mean(one, how), true["mean"]),
        "mean, percentile": held(bootstrap_mean(one, how, interval="percentile"), true["mean"]),
        "mean, BCa": held(bootstrap_mean(one, how, interval="bca"), true["mean"]),
        "difference": held(difference(one, other, how), 0.0),
        "ratio_of_means": held(planned(plan_ratio(one + 0.5, other)), (true["mean"] + 0.5) / true["mean"]),
        "trend, change": change.low is not None and change.high is not None and change.low <= 0.4 <= change.high,
        "jumps, all together": all((step.low or 0) <= value <= (step.high or 0) for step, value in steps),
        "pearson": held(planned(plan_pearson(x, y, how.level)), true["pearson"]),
        "pearson, percentile": held(planned(plan_pearson(x, y, how.level, "percentile")), true["pearson"]),
        "pearson, Fisher": held(planned(plan_pearson(x, y, how.level, "fisher")), true["pearson"]),
        "spearman": held(spearman(x, y, how), true["spearman"]),
    }


def coverage(family: str, n: int, replicates: int, resamples: int = RESAMPLES) -> dict[str, float]:
    """Share of replicates in which each interval contains the true value."""
    held: dict[str, int] = {}
    for number in range(replicates):
        chance = np.random.default_rng([n, number, list(FAMILIES).index(family)])
        for name, inside in estimates(chance, family, n, Resampling(resamples=resamples, seed=number)).items():
            held[name] = held.get(name, 0) + inside
    return {name: count / replicates for name, count in held.items()}


def measured(replicates: int = 2000) -> dict[str, Any]:
    """Coverage of nominal 95 % intervals, by family and number of sources."""
    tasks = [(family, n) for n in SIZES for family in FAMILIES]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(coverage, *zip(*tasks, strict=True), [replicates] * len(tasks)))
    return {
        "replicates": replicates,
        "resamples": RESAMPLES,
        "standard_error": math.sqrt(0.95 * 0.05 / replicates),
        "coverage": {f"{family}, {n}": one for (family, n), one in zip(tasks, found, strict=True)},
    }
