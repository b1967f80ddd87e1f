"""Coverage of the intervals, and time of estimates and operating characteristics.

python -m tests.bench stats
"""

from __future__ import annotations

import functools
import math
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tests.bench import replica
from tests.verdict import sketch
from vjepa_stress.statistics.mean import plan_mean
from vjepa_stress.statistics.numerics.estimate import Estimate, evaluate
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.estimate import bootstrap_mean, difference, jumps, pearson, ratio_of_means, spearman
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.power import constant_rules, operating_characteristics

Floats = NDArray[np.float64]
Reading = tuple[float | None, float | None, float]
"""An interval, and the true value that it should contain."""

SKEWED, ROUND = (2.0, 5.0), (4.0, 4.0)
"""Two beta distributions: one is skewed towards 0, one is symmetric."""

CELLS = 5
CORRELATION = 0.6
"""Correlation of normal scores: between cells of one clip, and between two metrics of one pair."""


def beta(scores: Floats, shape: tuple[float, float]) -> Floats:
    """Beta-distributed values at normal scores."""
    values: Floats = special.betaincinv(*shape, special.ndtr(scores))
    return values


def mean_of(shape: tuple[float, float]) -> float:
    return shape[0] / sum(shape)


@functools.cache
def correlation_of(shapes: tuple[tuple[float, float], tuple[float, float]], r: float) -> float:
    """Pearson's correlation of two beta variables whose normal scores have correlation r, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    x = beta(nodes, shapes[0])
    y = beta(r * nodes[:, None] + math.sqrt(1 - r**2) * nodes, shapes[1])
    centred = (x - mean_of(shapes[0]))[:, None] * (y - mean_of(shapes[1]))
    variance = [stats.beta.var(*shape) for shape in shapes]
    return float(weights @ centred @ weights) / math.sqrt(variance[0] * variance[1])


def clips(chance: np.random.Generator, n: int, parts: int, within: float = CORRELATION) -> Floats:
    """Normal scores (parts, clips, cells); any two scores of a clip have the same correlation."""
    shared, own = chance.standard_normal((1, n, 1)), chance.standard_normal((parts, n, CELLS))
    scores: Floats = math.sqrt(within) * shared + math.sqrt(1 - within) * own
    return scores


def readings(chance: np.random.Generator, n: int, how: Resampling) -> dict[str, Reading]:
    """One replicate: every interval once, with the true value."""
    first, second, third = clips(chance, n, 3)
    low, high, other = beta(first, SKEWED), beta(second, ROUND), beta(third, SKEWED)
    change = mean_of(ROUND) - mean_of(SKEWED)
    found: dict[str, tuple[Estimate, float]] = {
        "mean": (bootstrap_mean(low, how), mean_of(SKEWED)),
        "mean, BCa": (bootstrap_mean(low, how, interval="bca"), mean_of(SKEWED)),
        "ratio_of_means": (ratio_of_means(high, low, how), mean_of(ROUND) / mean_of(SKEWED)),
        "ratio_of_means, BCa": (ratio_of_means(high, low, how, interval="bca"), mean_of(ROUND) / mean_of(SKEWED)),
        "difference": (difference(high, low, how), change),
    }
    step = jumps([low, high, other], how).steps[0]
    separate = [beta(chance.standard_normal((n, CELLS)), shape) for shape in (SKEWED, ROUND)]
    own_clips = jumps(separate, how).steps[0]
    pooled = (own_clips.value - own_clips.half_width, own_clips.value + own_clips.half_width, change)
    # One pair per clip; then five pairs per clip that share a clip effect.
    x, y = chance.standard_normal((2, n))
    y = CORRELATION * x + math.sqrt(1 - CORRELATION**2) * y
    pair = beta(x, SKEWED), beta(y, ROUND)
    r = correlation_of((SKEWED, ROUND), CORRELATION)
    clip, own = chance.standard_normal((2, n, 1)), chance.standard_normal((2, n, CELLS))
    for part in (clip, own):
        part[1] = CORRELATION * part[0] + math.sqrt(1 - CORRELATION**2) * part[1]
    scores = math.sqrt(0.7) * clip + math.sqrt(0.3) * own
    shared = beta(scores[0], SKEWED), beta(scores[1], ROUND)
    found |= {
        "pearson, Fisher": (pearson(*pair, how), r),
        "pearson, cluster": (pearson(*pair, how, interval="cluster"), r),
        "pearson of pairs that share clips, Fisher": (pearson(*shared, how), r),
        "pearson of pairs that share clips, cluster": (pearson(*shared, how, interval="cluster"), r),
    }
    return {
        **{name: (one.low, one.high, truth) for name, (one, truth) in found.items()},
        "jumps, paired": (step.low, step.high, change),
        "jumps, pooled, models on clips of their own": pooled,
    }


def coverage(n: int, replicates: int, resamples: int = 1000) -> dict[str, float]:
    """Share of replicates whose interval contains the true value."""
    covered: dict[str, int] = {}
    for number in range(replicates):
        chance = np.random.default_rng([n, number])
        how = Resampling(resamples=resamples, seed=n)
        for name, (low, high, truth) in readings(chance, n, how).items():
            inside = low is not None and high is not None and low <= truth <= high
            covered[name] = covered.get(name, 0) + inside
    return {name: count / replicates for name, count in covered.items()}


def measure_coverage(replicates: int = 2000) -> dict[str, Any]:
    """Coverage of 95 % intervals with 200 and with 30 clips."""
    return {
        "replicates": replicates,
        "resamples": 1000,
        "standard_error": math.sqrt(0.95 * 0.05 / replicates),
        "coverage": {str(n): coverage(n, replicates) for n in (200, 30)},
    }


def cell_means(values: list[Floats], how: Resampling) -> list[tuple[float, float]]:
    """Percentile intervals of cell means, all at once."""
    return [(one.low or 0.0, one.high or 0.0) for one in evaluate([plan_mean(part) for part in values], how)]


def scipy_means(values: list[Floats], how: Resampling) -> Iterator[tuple[float, float]]:
    """The same intervals by scipy, cell by cell."""
    for n, part in enumerate(values):
        chance = np.random.default_rng([how.seed, n])
        found = stats.bootstrap((part,), np.mean, n_resamples=how.resamples, method="percentile", rng=chance)
        yield float(found.confidence_interval.low), float(found.confidence_interval.high)


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def measure_speed(resamples: int = 10_000) -> dict[str, Any]:
    """All estimands of H1 to H6 on 322 cells; then the cell means, compared with scipy's."""
    document = replica.study(resamples)
    table, how = sketch.table(document), resampling(document)
    estimands = [estimand for _, _, estimand in document.estimands()]

    def everything() -> list[Estimate]:
        plans = [EstimationPlan.of(one, table, document.design) for one in estimands]
        return evaluate([plan.read(table, how, strict=True) for plan in plans], how)

    seconds, estimates = timed(everything)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    columns = [table.values["M2"][:, n] for n in range(len(table.cells))]
    values = [column[np.isfinite(column)] for column in columns]
    # Twice, because the first call draws the resamples.
    own_seconds, intervals = min((timed(lambda: cell_means(values, how)) for _ in range(2)), key=lambda run: run[0])
    scipy_seconds, references = timed(lambda: list(scipy_means(values, how)))
    differences = [
        max(abs(a - b) for a, b in zip(one, other, strict=True)) / ((other[1] - other[0]) / 2)
        for one, other in zip(intervals, references, strict=True)
    ]
    davis = [n for n, cell in enumerate(table.cells) if cell["dataset"] == "davis" and cell["strength"]]
    x, y = (table.values[name][:, davis] for name in ("M2", "dM3"))
    observed = np.isfinite(x).any(axis=1)
    spearman_seconds, _ = timed(lambda: spearman(x[observed], y[observed], how))
    return {
        "cells": len(table.cells),
        "clips": 200,
        "resamples": resamples,
        "estimands": len(estimates),
        "seconds": seconds,
        "limit_seconds": 20,
        "peak_gibibytes": peak,
        "limit_gibibytes": 1,
        "cell_means_seconds": own_seconds,
        "scipy_cell_by_cell_seconds": scipy_seconds,
        "times_faster": scipy_seconds / own_seconds,
        "largest_difference_in_half_widths": max(differences),
        "spearman_of_3000_pairs_seconds": spearman_seconds,
    }


def measure_power(studies: int = 2000, workers: int = 2) -> dict[str, Any]:
    """Operating characteristics of H1 to H6 in three scenarios."""
    document, plan = replica.study(), replica.plan(studies)
    seconds, found = timed(lambda: operating_characteristics(document, plan, workers=workers))
    return {
        "studies": studies,
        "resamples": plan.resamples,
        "workers": workers,
        "seconds": seconds,
        "limit_seconds": 60,
        "milliseconds_a_study": 1000 * seconds / studies / len(plan.scenarios),
        "confirmed": {
            scenario: {name: one.confirmed.p for name, one in chances.items()}
            for scenario, chances in found.chances.items()
        },
        "never_turn": constant_rules(document, found),
    }


def measured() -> dict[str, Any]:
    """Coverage, speed and power."""
    return {"coverage": measure_coverage(), "speed": measure_speed(), "power": measure_power()}
