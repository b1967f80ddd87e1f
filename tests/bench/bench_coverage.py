"""Coverage of every interval that a study can register, over five families of data.

python -m tests.bench coverage
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from vjepa_stress.statistics.jumps import jumps
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, evaluate
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.ratio_of_means import plan_ratio
from vjepa_stress.verdict.estimate import (
    auroc,
    bootstrap_mean,
    difference,
    incremental,
    pearson,
    spearman,
    transfer,
    trend,
    within_cell,
)

Floats = NDArray[np.float64]

SIZES = (10, 30, 60, 200)
"""Numbers of sources. `check` refuses fewer than 30, and fewer than 60 for some statistics."""

ASSOCIATED = (60, 200)
"""Numbers of sources at which other associations are measured."""

CELLS, WITHIN, ASSOCIATION = 5, 0.6, 0.5
"""Cells per source; correlation of the normal scores of a source in two cells; and of two metrics in one cell."""

ASSOCIATIONS = (0.0, 0.2, 0.8)
"""Other correlations of the normal scores of two metrics in one cell."""

RISE = np.linspace(0, 0.8, CELLS)
"""What the strength of a cell adds to both metrics, in standard deviations; for `incremental` and `transfer`."""

FAILURE = 0.5
"""Normal score from which on y is a failure, for `auroc`: three in ten pairs."""

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
def truth(family: str, association: float = ASSOCIATION) -> dict[str, float]:
    """The statistics of the population, by quadrature."""
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
    other = math.sqrt(1 - association**2)
    joint = association * coarse[:, None] + other * coarse[None]

    def correlation(function: Callable[[Floats], Floats]) -> float:
        x, y = function(coarse), function(joint)
        centre = share @ x
        return float(share @ ((x[:, None] - centre) * (y - centre)) @ share / (share @ (x - centre) ** 2))

    r = correlation(of)
    # Values of x at which y fails or not; the mid-distribution function counts ties half.
    fails = special.ndtr((association * nodes - FAILURE) / other)
    failing, others = weights * fails, weights * (1 - fails)
    _, tie = np.unique(values.round(12), return_inverse=True)
    tied = np.bincount(tie, others)
    return {
        "mean": mean,
        "deviation": float(np.sqrt(weights @ (values - mean) ** 2)),
        "pearson": r,
        "within_cell": r,
        "spearman": correlation(lambda scores: np.interp(scores, nodes, ranks)),
        "incremental": r**2 / (1 + float(RISE.var())),
        "transfer": 1 - sum(_error(r, n) for n in range(CELLS)) / CELLS / (1 + float(RISE.var())),
        "auroc": float(failing @ (tied.cumsum() - tied / 2)[tie] / failing.sum() / others.sum()),
    }


def _error(r: float, left_out: int) -> float:
    """Mean squared error of the line that the population has in all other cells, in the cell left out."""
    spread = np.delete(RISE, left_out).var()
    slope = (r + spread) / (1 + spread)
    shift = (1 - slope) * (RISE[left_out] - np.delete(RISE, left_out).mean())
    return float(shift**2 + 1 + slope**2 - 2 * slope * r)


def scores(chance: np.random.Generator, n: int, parts: int) -> Floats:
    """Normal scores, (parts, n, cells). Any two scores of a source have the correlation `WITHIN`."""
    shared, own = chance.standard_normal((1, n, 1)), chance.standard_normal((parts, n, CELLS))
    drawn: Floats = math.sqrt(WITHIN) * shared + math.sqrt(1 - WITHIN) * own
    return drawn


def pairs(
    chance: np.random.Generator, family: str, n: int, association: float = ASSOCIATION
) -> tuple[Floats, Floats]:
    """Values of two metrics, (n, cells) each."""
    pair = chance.standard_normal((2, n, 1)), chance.standard_normal((2, n, CELLS))
    for part in pair:
        part[1] = association * part[0] + math.sqrt(1 - association**2) * part[1]
    x, y = map(FAMILIES[family], math.sqrt(WITHIN) * pair[0] + math.sqrt(1 - WITHIN) * pair[1])
    return x, y


def held(found: Estimate, value: float) -> bool:
    """Whether an interval contains a value."""
    return found.low is not None and found.high is not None and found.low <= value <= found.high


def _rising(values: Floats, true: dict[str, float]) -> Floats:
    """Values in standard deviations, plus the rise of their cell."""
    return (values - true["mean"]) / true["deviation"] + RISE


def associations(family: str, x: Floats, y: Floats, true: dict[str, float], level: float = 0.95) -> dict[str, bool]:
    """Whether each jackknife interval contains the true value."""
    x_rising, y_rising = (_rising(part, true) for part in (x, y))
    cut = float(FAMILIES[family](np.array(FAILURE)))
    how = Resampling(level=level, resamples=1)
    found = {
        "pearson": pearson(x, y, how, interval="jackknife"),
        "within_cell": within_cell(x, y, range(CELLS), how),
        "incremental": incremental(x_rising, y_rising, range(CELLS), how),
        "transfer": transfer(x_rising, y_rising, range(CELLS), how),
        "auroc": auroc(x, y, cut, how),
    }
    return {name: held(one, true[name]) for name, one in found.items()}


def estimates(chance: np.random.Generator, family: str, n: int, how: Resampling) -> dict[str, bool]:
    """One replicate: whether each interval contains the true value."""
    of, true = FAMILIES[family], truth(family)
    one, other, third = map(of, scores(chance, n, 3))
    rise = np.linspace(0, 0.4, CELLS)
    x, y = pairs(chance, family, n)
    change = trend(one + rise, rise.tolist(), how).overall
    curve = jumps([one, other + 0.1, third + 0.3], how, interval="max-t")
    assert curve.overall is not None
    assert change is not None
    steps = zip((*curve.steps, curve.overall), (0.1, 0.2, 0.3), strict=True)
    x_rising, y_rising = (_rising(part, true) for part in (x, y))
    gain = incremental(x_rising, y_rising, range(CELLS), how, interval="expanded")
    explained = transfer(x_rising, y_rising, range(CELLS), how, interval="expanded")

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
        **associations(family, x, y, true, how.level),
        "pearson, expanded": held(pearson(x, y, how, interval="expanded"), true["pearson"]),
        "pearson, Fisher": held(pearson(x, y, how), true["pearson"]),
        "pearson, Fisher, one cell": held(pearson(x[:, :1], y[:, :1], how), true["pearson"]),
        "incremental, expanded": held(gain, true["incremental"]),
        "transfer, expanded": held(explained, true["transfer"]),
        "spearman": held(spearman(x, y, how), true["spearman"]),
    }


def coverage(family: str, n: int, replicates: int, resamples: int = RESAMPLES) -> dict[str, float]:
    """Share of replicates in which each interval contains the true value."""
    return _shares(
        estimates(_chance(family, n, number), family, n, Resampling(resamples=resamples, seed=number))
        for number in range(replicates)
    )


def coverage_at(association: float, family: str, n: int, replicates: int) -> dict[str, float]:
    """The same for the jackknife intervals, at another association."""
    true = truth(family, association)
    return _shares(
        associations(family, *pairs(_chance(family, n, number), family, n, association), true)
        for number in range(replicates)
    )


def _chance(family: str, n: int, number: int) -> np.random.Generator:
    return np.random.default_rng([n, number, list(FAMILIES).index(family)])


def _shares(replicates: Iterable[dict[str, bool]]) -> dict[str, float]:
    every = list(replicates)
    return {name: sum(one[name] for one in every) / len(every) for name in every[0]}


def measured(replicates: int = 2000, workers: int = 2) -> dict[str, Any]:
    """Coverage of nominal 95 % intervals, by family and number of sources, and by association."""
    tasks = [(family, n) for n in SIZES for family in FAMILIES]
    others = [(association, family, n) for association in ASSOCIATIONS for n in ASSOCIATED for family in FAMILIES]
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(coverage, *zip(*tasks, strict=True), [replicates] * len(tasks)))
        at = list(pool.map(coverage_at, *zip(*others, strict=True), [replicates] * len(others)))
    return {
        "replicates": replicates,
        "resamples": RESAMPLES,
        "standard_error": math.sqrt(0.95 * 0.05 / replicates),
        "coverage": {f"{family}, {n}": one for (family, n), one in zip(tasks, found, strict=True)},
        "associations": {f"{r}, {family}, {n}": one for (r, family, n), one in zip(others, at, strict=True)},
    }
