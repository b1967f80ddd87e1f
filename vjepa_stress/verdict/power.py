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
from dataclasses import dataclass

import numpy as np

from vjepa_stress.design import Cell
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration, check_scenarios
from vjepa_stress.prereg.scenarios import (
    WORLDS,
    Chance,
    Chances,
    Given,
    OperatingCharacteristics,
    Plan,
    Severity,
    Size,
)
from vjepa_stress.rules import Outcome
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.verdict.author_free import Dose, Noise, Shuffled, dose_factor, null_of_pilot, null_of_scenario
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.judge import closed_gates, judge, levels_read
from vjepa_stress.verdict.multiplicity import leaf_levels, resampling
from vjepa_stress.verdict.needed import columns_of, needed_by
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.severity import BORDERS, Border, at_borders
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import GivenWorld, PilotWorld, World, scaled

SCALES = (0.5, 2.0, 4.0)
"""Sizes of the power curves, as factors of the registered numbers of units and sources."""

Judged = tuple[str, Border | None]
"""A hypothesis, judged as simulated or with its truth at a border."""

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


@dataclass(frozen=True)
class Run:
    """Simulated studies of one world.

    Attributes:
        world: name of a scenario, or of a world that needs no author.
        claimed: the scenario from which `null` and `shuffled` are derived; else None.
        hypotheses: ids of the hypotheses that are judged, in the order of the document.
        studies: number of studies.
        scale: factor of the numbers of units and sources.
    """

    world: str
    claimed: str | None
    hypotheses: tuple[str, ...]
    studies: int
    scale: float = 1.0


def plan_runs(document: Preregistration, plan: Plan) -> tuple[Run, ...]:
    """All worlds to simulate: the scenarios, the worlds that need no author, and the sizes of the power curves."""
    active = _active(document)
    runs = [Run(name, None, tuple(one.id for one in active), plan.studies) for name in plan.scenarios]
    tested = [one for one in active if one.family != CALIBRATION]
    claims = {one.id: claimed for one in tested if (claimed := plan.claimed(one.id)) is not None}
    # Only metrics can be drawn from a distribution; counts and flags come with the units of a pilot.
    metrics = set(document.design.columns)
    drawn = [one.id for one in tested if metrics.issuperset(columns_of(_needed(document, [one])))]
    for claimed in dict.fromkeys(claims.values()):
        ids = tuple(name for name, scenario in claims.items() if scenario == claimed)
        if of_metrics := tuple(name for name in ids if name in drawn):
            runs.append(Run("null", claimed, of_metrics, plan.null_studies))
        runs.append(Run("shuffled", claimed, ids, plan.null_studies))
        judged = tuple(one.id for one in active if one.id in ids or one.family == CALIBRATION)
        runs += [Run(claimed, None, judged, plan.curve_studies, scale) for scale in SCALES]
    if drawn:
        runs.append(Run("noise", None, tuple(drawn), plan.null_studies))
        if dose_factor(document.design, _needed(document, [one for one in tested if one.id in drawn])) is not None:
            runs.append(Run("dose", None, tuple(drawn), plan.null_studies))
    return tuple(runs)


def _curves(
    document: Preregistration, plan: Plan, found: Mapping[Run, Mapping[str, Chances]]
) -> dict[str, tuple[Size, ...]]:
    """For each hypothesis that a scenario expects to be confirmed: the chance of it by size of the study."""
    curves: dict[str, tuple[Size, ...]] = {}
    for hypothesis in _active(document):
        claimed = plan.claimed(hypothesis.id)
        if claimed is None or hypothesis.family == CALIBRATION:
            continue
        strata = document.design.strata(tuple(_needed(document, [hypothesis])))
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
    for hypothesis in _active(document):
        outcomes = {
            outcome
            for chances in (simulated.chances[name] for name in simulated.scenarios)
            for outcome in ("confirmed", "ambiguous", "refuted")
            if hypothesis.id in chances and getattr(chances[hypothesis.id], outcome).p > 0
        }
        if hypothesis.family != CALIBRATION and len(outcomes) < 2:
            constant.append(hypothesis.id)
    return tuple(constant)


def _active(document: Preregistration) -> list[Hypothesis]:
    return [one for hypothesis in document.hypotheses if (one := hypothesis.judged) is not None]


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


class Simulation:
    """A world that is prepared for simulation."""

    def __init__(self, document: Preregistration, plan: Plan, run: Run, pilots: Mapping[str, Table]) -> None:
        self.hypotheses = [one for one in _active(document) if one.id in run.hypotheses]
        self.seed, self.gated = plan.seed, run.world not in WORLDS
        self.strict = document.analysis.strict
        self.world = _world(document, plan, run, self.hypotheses, pilots)
        # A withdrawn gate has no verdict. If all gates are withdrawn, no hypothesis is evaluated; see `closed_gates`.
        self.withdrawn_gates = {
            one.id: "withdrawn" for one in document.hypotheses if one.family == CALIBRATION and one.judged is None
        }
        self.how = resampling(document).model_copy(update={"resamples": plan.resamples})
        self.own = {one.id: resampling(document, one).level for one in self.hypotheses}
        self.levels = {one.id: leaf_levels(document, one) for one in self.hypotheses}
        self.plans = {
            (one.id, name): EstimationPlan.of(estimand, self.world.skeleton, document.design)
            for one in self.hypotheses
            for name, estimand in one.estimands.items()
        }
        # Intervals that no rule reads are not computed, because they would take most of the time.
        self.wanted: dict[tuple[str, str], list[float]] = {}
        for one in self.hypotheses:
            for leaf, level in levels_read(one.rule, self.levels[one.id], self.own[one.id]):
                if leaf.reads_interval:
                    self.wanted.setdefault((one.id, leaf.estimand), []).append(level)
        self.points = self.plans.keys() - self.wanted.keys()
        self.wanted |= {key: [self.how.level] for key in self.points}
        severe = [] if run.scale != 1 else [one for one in self.hypotheses if plan.claimed(one.id) == run.world]
        severe = [one for one in severe if one.family != CALIBRATION]
        self.at_borders = at_borders(document, severe, self.plans, self.world, self.how, plan.seed)

    def study(self, number: int) -> dict[Judged, str]:
        """The verdicts of one simulated study."""
        table = self.world.draw(np.random.Generator(np.random.PCG64([self.seed, number])))
        first = {key: levels[0] for key, levels in self.wanted.items()}
        by_level = ByLevel(self.plans, table, self.how, strict=self.strict, first=first, points=self.points)
        estimates = by_level.at((key, level) for key, levels in self.wanted.items() for level in levels)
        seen: dict[str, dict[tuple[str, float], Estimate]] = {one.id: {} for one in self.hypotheses}
        for ((hypothesis_id, name), level), estimate in estimates.items():
            seen[hypothesis_id][name, level] = estimate
        outcomes: dict[str, str] = {}
        moved: dict[Judged, str] = {}
        for hypothesis in self.hypotheses:
            at, own = seen[hypothesis.id], self.own[hypothesis.id]
            # A leaf without levels reads the level of the hypothesis, or only a value, which is equal at all levels.
            estimated = {name: at.get((name, own), estimate) for (name, _), estimate in at.items()}
            levels = self.levels[hypothesis.id]
            outcomes[hypothesis.id] = judge(hypothesis.rule, estimated, levels, at).outcome
            if hypothesis.id in self.at_borders:
                of_borders = self.at_borders[hypothesis.id].outcomes(estimated, levels, at)
                moved |= {(hypothesis.id, border): outcome for border, outcome in of_borders}
        gates = {one.id: outcomes[one.id] for one in self.hypotheses if one.family == CALIBRATION}
        if self.gated and closed_gates(self.withdrawn_gates | gates):
            outcomes = {name: gates.get(name, "not-evaluable") for name in outcomes}
        return {(name, None): outcome for name, outcome in outcomes.items()} | moved


def _needed(document: Preregistration, hypotheses: Sequence[Hypothesis]) -> dict[Cell, frozenset[str]]:
    return needed_by((one for hypothesis in hypotheses for one in hypothesis.estimands.values()), document.design)


def _world(
    document: Preregistration, plan: Plan, run: Run, hypotheses: Sequence[Hypothesis], pilots: Mapping[str, Table]
) -> World:
    design, needed = document.design, _needed(document, hypotheses)
    if run.world == "noise":
        return Noise(design, needed)
    if run.world == "dose":
        return Dose(design, needed, dose_factor(design, needed) or "")
    name = run.claimed or run.world
    scenario = plan.scenarios[name]
    if isinstance(scenario, Given):
        if others := [column for column in columns_of(needed) if column not in design.columns]:
            raise BadDocument(
                f"scenario {name}: only metrics can be simulated, but an estimand filters by {', '.join(others)}",
                fix="use a scenario of kind `pilot`, whose shards have these columns",
            )
        if run.world == "null":
            return null_of_scenario(name, scenario, design, needed)
        world: World = GivenWorld(name, scenario, design, needed, run.scale)
    elif name not in pilots:
        raise BadDocument(
            f"scenario {name}: the table of its pilot is missing",
            expected=scenario.study,
            fix=f"pass the table of the pilot in `pilots`, under the name {name}",
        )
    elif run.world == "null":
        return null_of_pilot(pilots[name], design, needed)
    else:
        world = PilotWorld(name, pilots[name], design, needed, run.scale)
    return Shuffled(world, design, needed) if run.world == "shuffled" else world


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
