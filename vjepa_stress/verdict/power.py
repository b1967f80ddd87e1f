"""Operating characteristics: the chance of each verdict in each scenario, and in worlds that need no author.

Simulated units are judged by the same estimands and rules as real units. Calibration gates are part of it, except in
the worlds that need no author, where they have no meaning and count as passed. Every simulated study has its own
random stream, so the chances do not depend on the number of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import CALIBRATION, Preregistration, check_scenarios
from vjepa_stress.prereg.scenarios import (
    Chance,
    Chances,
    OperatingCharacteristics,
    Plan,
    Severity,
    Size,
)
from vjepa_stress.rules import Outcome
from vjepa_stress.verdict.author_free import dose_factor
from vjepa_stress.verdict.needed import columns_of
from vjepa_stress.verdict.severity import BORDERS
from vjepa_stress.verdict.simulation import Judged, Run, Simulation, active_in, needed_in
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import scaled

SCALES = (0.5, 2.0, 4.0)
"""Sizes of the power curves, as factors of the registered numbers of units and sources."""

_AT_ONCE = 50
"""Number of simulated studies per task of a process."""

_POOL_START = 10.0
"""Processes are started only if more than this number of seconds is left."""


def operating_characteristics(
    document: Preregistration, plan: Plan, pilots: Mapping[str, Table] | None = None, workers: int = 1
) -> OperatingCharacteristics:
    """Simulate studies in every scenario and count verdicts.

    Args:
        document: the hypotheses and their design; its operating characteristics are not read.
        plan: scenarios, number of studies and resamples, seed.
        pilots: tables of the pilots, by the name of the scenario.
        workers: number of processes; the result does not depend on it.

    Raises:
        BadDocument: when a scenario does not describe a metric that an estimand needs, or describes an impossible
            distribution.
    """
    try:
        check_scenarios(document.design, {one.id for one in document.hypotheses}, plan)
    except ValueError as error:
        raise BadDocument(str(error), where="operating_characteristics", fix="correct the scenario") from error
    runs = plan_runs(document, plan)
    counts: dict[Run, dict[Judged, Counter[str]]] = {run: {} for run in runs}
    for run, outcomes in _outcomes(document, plan, pilots or {}, runs, workers):
        for judged, outcome in outcomes.items():
            counts[run].setdefault(judged, Counter())[outcome] += 1
    found = {
        run: {name: _chances(one[name, None], run.studies) for name in run.hypotheses} for run, one in counts.items()
    }
    moved = {key: _chances(one, plan.studies) for of in counts.values() for key, one in of.items() if key[1]}
    severity = {
        one.id: Severity(**{border: moved[one.id, border] for border in BORDERS})
        for one in document.hypotheses
        if (one.id, BORDERS[0]) in moved
    }
    chances: dict[str, dict[str, Chances]] = {}
    for run in runs:
        if run.scale == 1:
            chances.setdefault(run.world, {}).update(found[run])
    curves = _curves(document, plan, found)
    return OperatingCharacteristics(**vars(plan), chances=chances, curves=curves, severity=severity)


def plan_runs(document: Preregistration, plan: Plan) -> tuple[Run, ...]:
    """All worlds to simulate: the scenarios, the worlds that need no author, and the sizes of the power curves."""
    active = active_in(document)
    runs = [Run(name, None, tuple(one.id for one in active), plan.studies) for name in plan.scenarios]
    tested = [one for one in active if one.family != CALIBRATION]
    claims = {one.id: claimed for one in tested if (claimed := plan.claimed(one.id)) is not None}
    # Only metrics can be drawn from a distribution; counts and flags come with the units of a pilot.
    metrics = set(document.design.columns)
    drawn = [one.id for one in tested if metrics.issuperset(columns_of(needed_in(document, [one])))]
    for claimed in dict.fromkeys(claims.values()):
        ids = tuple(name for name, scenario in claims.items() if scenario == claimed)
        if of_metrics := tuple(name for name in ids if name in drawn):
            runs.append(Run("null", claimed, of_metrics, plan.null_studies))
        runs.append(Run("shuffled", claimed, ids, plan.null_studies))
        judged = tuple(one.id for one in active if one.id in ids or one.family == CALIBRATION)
        runs += [Run(claimed, None, judged, plan.curve_studies, scale) for scale in SCALES]
    if drawn:
        runs.append(Run("noise", None, tuple(drawn), plan.null_studies))
        if dose_factor(document.design, needed_in(document, [one for one in tested if one.id in drawn])) is not None:
            runs.append(Run("dose", None, tuple(drawn), plan.null_studies))
    return tuple(runs)


def _curves(
    document: Preregistration, plan: Plan, found: Mapping[Run, Mapping[str, Chances]]
) -> dict[str, tuple[Size, ...]]:
    """For each hypothesis that a scenario expects to be confirmed: the chance of it by size of the study."""
    curves: dict[str, tuple[Size, ...]] = {}
    for hypothesis in active_in(document):
        claimed = plan.claimed(hypothesis.id)
        if claimed is None or hypothesis.family == CALIBRATION:
            continue
        strata = document.design.strata(tuple(needed_in(document, [hypothesis])))
        points = []
        for run in sorted((one for one in found if one.world == claimed), key=lambda one: one.scale):
            if hypothesis.id in run.hypotheses:
                sizes = {name: scaled(document.design, name, run.scale) for name in strata}
                points.append(
                    Size(
                        units={name: units for name, (units, _) in sizes.items()},
                        sources={name: sources for name, (_, sources) in sizes.items()},
                        confirmed=found[run][hypothesis.id].confirmed,
                    )
                )
        curves[hypothesis.id] = tuple(points)
    return curves


def constant_rules(document: Preregistration, simulated: OperatingCharacteristics) -> tuple[str, ...]:
    """Hypotheses with the same verdict in every simulated study of every scenario.

    Such a rule tests nothing. Gates are left out: they test the metric, and no scenario needs to describe a metric
    that fails its calibration.
    """
    constant = []
    for hypothesis in active_in(document):
        outcomes = {
            outcome
            for chances in (simulated.chances[name] for name in simulated.scenarios)
            for outcome in ("confirmed", "ambiguous", "refuted")
            if hypothesis.id in chances and getattr(chances[hypothesis.id], outcome).p > 0
        }
        if hypothesis.family != CALIBRATION and len(outcomes) < 2:
            constant.append(hypothesis.id)
    return tuple(constant)


def _chances(verdicts: Counter[str], studies: int) -> Chances:
    # Imported when needed: statsmodels imports pandas, which would dominate the start-up time of an audit.
    from statsmodels.stats.proportion import proportion_confint

    def chance(outcome: Outcome) -> Chance:
        count = verdicts[outcome]
        low, high = proportion_confint(count, studies, alpha=0.05, method="wilson")
        return Chance(p=count / studies, low=float(low), high=float(high))

    return Chances(
        confirmed=chance("confirmed"),
        ambiguous=chance("ambiguous"),
        refuted=chance("refuted"),
        not_evaluable=chance("not-evaluable"),
    )


def _outcomes(
    document: Preregistration, plan: Plan, pilots: Mapping[str, Table], runs: Sequence[Run], workers: int
) -> Iterator[tuple[Run, dict[Judged, str]]]:
    """The run and the verdicts of each simulated study."""
    tasks = [
        (run, range(first, min(first + _AT_ONCE, run.studies)))
        for run in runs
        for first in range(0, run.studies, _AT_ONCE)
    ]
    simulate, start, done = _Worker(document, plan, pilots), time.perf_counter(), 0
    for done, task in enumerate(tasks, 1):
        yield from ((task[0], one) for one in simulate(task))
        if workers > 1 and (time.perf_counter() - start) / done * (len(tasks) - done) > _POOL_START:
            break
    if done == len(tasks):
        return
    # Processes are spawned, not forked, so that they do not inherit threads or a model.
    with (
        _small_processes(),
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(document, plan, dict(pilots))
        ) as pool,
    ):
        for (run, _), outcomes in zip(tasks[done:], pool.map(_simulate, tasks[done:]), strict=True):
            yield from ((run, one) for one in outcomes)


class _Worker:
    """Simulates ranges of studies. The prepared world is kept between tasks."""

    def __init__(self, document: Preregistration, plan: Plan, pilots: Mapping[str, Table]) -> None:
        self.document, self.plan, self.pilots = document, plan, pilots
        self.prepared: dict[Run, Simulation] = {}

    def __call__(self, task: tuple[Run, range]) -> list[dict[Judged, str]]:
        run, numbers = task
        if run not in self.prepared:
            self.prepared = {run: Simulation(self.document, self.plan, run, self.pilots)}
        return [self.prepared[run].study(number) for number in numbers]


_worker: _Worker | None = None


def _start(document: Preregistration, plan: Plan, pilots: Mapping[str, Table]) -> None:
    global _worker  # initializers of a pool can only set global variables
    _worker = _Worker(document, plan, pilots)


def _simulate(task: tuple[Run, range]) -> list[dict[Judged, str]]:
    assert _worker is not None  # noqa: S101  # `_start` ran first
    return _worker(task)


@contextmanager
def _small_processes() -> Iterator[None]:
    """Set environment variables for worker processes: one thread each, and no return of memory between studies.

    Returning memory to the system after each study takes a quarter of the time (glibc).
    """
    settings = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    settings |= {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
