"""Time of estimates and of operating characteristics.

python -m tests.bench stats
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.bench import replica
from tests.verdict import sketch
from vjepa_stress.statistics.mean import plan_mean
from vjepa_stress.statistics.numerics.estimate import Estimate, evaluate
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.estimate import spearman
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.power import constant_rules, operating_characteristics

Floats = NDArray[np.float64]


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
    """Speed and power."""
    return {"speed": measure_speed(), "power": measure_power()}
