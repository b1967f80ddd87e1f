"""Operating characteristics: the chance of each verdict in each scenario.

Simulated clips are judged by the same estimands and rules as real clips, including the calibration gate. Every
simulated study has its own random stream, so the chances do not depend on the number of processes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np

from vjepa_stress.design import Cell
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration, check_scenarios
from vjepa_stress.prereg.scenarios import Chance, Chances, Given, OperatingCharacteristics, Plan
from vjepa_stress.rules import Outcome
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.judge import closed_gates, judge
from vjepa_stress.verdict.multiplicity import leaf_levels, resampling
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import GivenWorld, PilotWorld, World

_AT_ONCE = 50
"""Number of simulated studies per task of a process."""


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
        check_scenarios(document.design, plan)
    except ValueError as error:
        raise BadDocument(str(error), where="operating_characteristics", fix="correct the scenario") from error
    names = [hypothesis.id for hypothesis in _active(document)]
    counts = {scenario: {name: Counter[str]() for name in names} for scenario in plan.scenarios}
    for scenario, outcomes in _outcomes(document, plan, pilots or {}, workers):
        for name, outcome in zip(names, outcomes, strict=True):
            counts[scenario][name][outcome] += 1
    return OperatingCharacteristics(
        **vars(plan),
        chances={
            scenario: {name: _chances(verdicts, plan.studies) for name, verdicts in of_scenario.items()}
            for scenario, of_scenario in counts.items()
        },
    )


def constant_rules(document: Preregistration, simulated: OperatingCharacteristics) -> tuple[str, ...]:
    """Hypotheses with the same verdict in every simulated study of every scenario.

    Such a rule tests nothing. Gates are left out: they test the metric, and no scenario needs to describe a metric
    that fails its calibration.
    """
    constant = []
    for hypothesis in _active(document):
        outcomes = {
            outcome
            for chances in simulated.chances.values()
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
    """A scenario that is prepared for simulation."""

    def __init__(self, document: Preregistration, plan: Plan, scenario: str, pilots: Mapping[str, Table]) -> None:
        self.hypotheses, self.seed = _active(document), plan.seed
        self.strict = document.analysis.strict
        self.world = _world(document, plan, scenario, pilots)
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
            for leaf, levels in zip(one.rule.leaves(), self.levels[one.id], strict=True):
                if leaf.reads_interval:
                    read = (levels.confirm, levels.refute) if levels else (self.own[one.id],)
                    self.wanted.setdefault((one.id, leaf.estimand), []).extend(read)
        self.points = self.plans.keys() - self.wanted.keys()
        self.wanted |= {key: [self.how.level] for key in self.points}

    def study(self, number: int) -> list[str]:
        """The verdicts of one simulated study, one per hypothesis."""
        table = self.world.draw(np.random.Generator(np.random.PCG64([self.seed, number])))
        first = {key: levels[0] for key, levels in self.wanted.items()}
        by_level = ByLevel(self.plans, table, self.how, strict=self.strict, first=first, points=self.points)
        estimates = by_level.at((key, level) for key, levels in self.wanted.items() for level in levels)
        seen: dict[str, dict[tuple[str, float], Estimate]] = {one.id: {} for one in self.hypotheses}
        for ((hypothesis_id, name), level), estimate in estimates.items():
            seen[hypothesis_id][name, level] = estimate
        outcomes: list[str] = []
        for hypothesis in self.hypotheses:
            at, own = seen[hypothesis.id], self.own[hypothesis.id]
            # A leaf without levels reads the level of the hypothesis, or only a value, which is equal at all levels.
            estimated = {name: at.get((name, own), estimate) for (name, _), estimate in at.items()}
            outcomes.append(judge(hypothesis.rule, estimated, self.levels[hypothesis.id], at).outcome)
        judged = list(zip(self.hypotheses, outcomes, strict=True))
        gates = {hypothesis.id: outcome for hypothesis, outcome in judged if hypothesis.family == CALIBRATION}
        if closed_gates(self.withdrawn_gates | gates):
            return [
                outcome if hypothesis.family == CALIBRATION else "not-evaluable" for hypothesis, outcome in judged
            ]
        return outcomes


def _world(document: Preregistration, plan: Plan, name: str, pilots: Mapping[str, Table]) -> World:
    needed: dict[Cell, set[str]] = {}
    for hypothesis in _active(document):
        for estimand in hypothesis.estimands.values():
            for where in estimand.filters():
                columns = {*estimand.columns(), *(condition.column for condition in where.rows or ())}
                for cell in document.design.select(where):
                    needed.setdefault(cell, set()).update(columns)
    scenario = plan.scenarios[name]
    if isinstance(scenario, Given):
        others = {column for columns in needed.values() for column in columns} - set(document.design.columns)
        if others:
            raise BadDocument(
                f"scenario {name}: only metrics can be simulated, but an estimand filters by "
                f"{', '.join(sorted(others))}",
                fix="use a scenario of kind `pilot`, whose shards have these columns",
            )
        ordered = sorted(needed, key=Cell.order)
        return GivenWorld(name, scenario, document.design, [(cell, frozenset(needed[cell])) for cell in ordered])
    if name not in pilots:
        raise BadDocument(
            f"scenario {name}: the table of its pilot is missing",
            expected=scenario.study,
            fix=f"pass the table of the pilot in `pilots`, under the name {name}",
        )
    return PilotWorld(name, pilots[name], document.design, needed)


def _outcomes(
    document: Preregistration, plan: Plan, pilots: Mapping[str, Table], workers: int
) -> Iterator[tuple[str, list[str]]]:
    """The scenario and the verdicts of each simulated study."""
    tasks = [
        (scenario, range(first, min(first + _AT_ONCE, plan.studies)))
        for scenario in plan.scenarios
        for first in range(0, plan.studies, _AT_ONCE)
    ]
    if workers <= 1:
        simulate = _Worker(document, plan, pilots)
        results = map(simulate, tasks)
        for (scenario, _), outcomes in zip(tasks, results, strict=True):
            yield from ((scenario, one) for one in outcomes)
        return
    # Processes are spawned, not forked, so that they do not inherit threads or a model.
    with (
        _small_processes(),
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(document, plan, dict(pilots))
        ) as pool,
    ):
        for (scenario, _), outcomes in zip(tasks, pool.map(_simulate, tasks), strict=True):
            yield from ((scenario, one) for one in outcomes)


class _Worker:
    """Simulates ranges of studies. The prepared scenario is kept between tasks."""

    def __init__(self, document: Preregistration, plan: Plan, pilots: Mapping[str, Table]) -> None:
        self.document, self.plan, self.pilots = document, plan, pilots
        self.prepared: dict[str, Simulation] = {}

    def __call__(self, task: tuple[str, range]) -> list[list[str]]:
        scenario, numbers = task
        if scenario not in self.prepared:
            self.prepared = {scenario: Simulation(self.document, self.plan, scenario, self.pilots)}
        return [self.prepared[scenario].study(number) for number in numbers]


_worker: _Worker | None = None


def _start(document: Preregistration, plan: Plan, pilots: Mapping[str, Table]) -> None:
    global _worker  # initializers of a pool can only set global variables
    _worker = _Worker(document, plan, pilots)


def _simulate(task: tuple[str, range]) -> list[list[str]]:
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
