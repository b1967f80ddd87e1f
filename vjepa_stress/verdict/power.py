"""Operating characteristics: how often each verdict would be given in each of several worlds.

Simulated clips go through the estimands and rules that will judge the real ones, calibration gate included. Every
study has a random stream of its own, so the chances do not depend on how many processes share the work.
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
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, evaluate_each
from vjepa_stress.verdict.judge import closed_gates, judge
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import GivenWorld, PilotWorld, World

_AT_ONCE = 50
"""Studies that a process simulates before it reports."""


def operating_characteristics(
    document: Preregistration, plan: Plan, pilots: Mapping[str, Table] | None = None, workers: int = 1
) -> OperatingCharacteristics:
    """Simulate studies in every scenario and count verdicts.

    Args:
        document: the hypotheses and their design; what it says of operating characteristics is not read.
        plan: scenarios, number of studies and resamples, seed.
        pilots: for each scenario taken from a pilot, by the scenario's name, the pilot's table.
        workers: processes; the result does not depend on it.

    Raises:
        BadDocument: when a scenario leaves open what an estimand needs, or describes what cannot be.
    """
    try:
        check_scenarios(document.design, plan)
    except ValueError as error:
        raise BadDocument(str(error)) from error
    names = [hypothesis.id for hypothesis in _active(document)]
    counts = {scenario: {name: Counter[str]() for name in names} for scenario in plan.scenarios}
    for scenario, outcomes in _outcomes(document, plan, pilots or {}, workers):
        for name, outcome in zip(names, outcomes, strict=True):
            counts[scenario][name][outcome] += 1
    return OperatingCharacteristics(
        **vars(plan),
        chances={
            scenario: {name: _chances(seen, plan.studies) for name, seen in of_scenario.items()}
            for scenario, of_scenario in counts.items()
        },
    )


def constant_rules(document: Preregistration, found: OperatingCharacteristics) -> tuple[str, ...]:
    """Hypotheses that got one and the same verdict in every simulated study of every scenario.

    A rule that no scenario can turn tests nothing. Gates are left out: they ask about the instrument, and a scenario
    in which it is broken says nothing about the hypotheses behind them.
    """
    constant = []
    for hypothesis in _active(document):
        seen = {
            outcome
            for chances in found.chances.values()
            for outcome in ("confirmed", "ambiguous", "refuted")
            if hypothesis.id in chances and getattr(chances[hypothesis.id], outcome).p > 0
        }
        if hypothesis.family != CALIBRATION and len(seen) < 2:
            constant.append(hypothesis.id)
    return tuple(constant)


def _active(document: Preregistration) -> list[Hypothesis]:
    return [one for hypothesis in document.hypotheses if (one := hypothesis.judged) is not None]


def _chances(seen: Counter[str], studies: int) -> Chances:
    # Imported here: with pandas behind it, it would be most of the time that an audit takes to start.
    from statsmodels.stats.proportion import proportion_confint

    def chance(outcome: Outcome) -> Chance:
        count = seen[outcome]
        low, high = proportion_confint(count, studies, alpha=0.05, method="wilson")
        return Chance(p=count / studies, low=float(low), high=float(high))

    return Chances(
        confirmed=chance("confirmed"),
        ambiguous=chance("ambiguous"),
        refuted=chance("refuted"),
        not_evaluable=chance("not-evaluable"),
    )


class Simulation:
    """One scenario, ready to be simulated."""

    def __init__(self, document: Preregistration, plan: Plan, scenario: str, pilots: Mapping[str, Table]) -> None:
        self.hypotheses, self.seed = _active(document), plan.seed
        self.strict = document.analysis.missing_data == "not-evaluable"
        self.world = _world(document, plan, scenario, pilots)
        # A withdrawn gate gives no verdict, but where all are withdrawn nothing passes, here as in the evaluation.
        self.withdrawn_gates = {
            one.id: "withdrawn" for one in document.hypotheses if one.family == CALIBRATION and one.judged is None
        }
        self.names = [(one, name) for one in self.hypotheses for name in one.estimands]
        fewer = {"resamples": plan.resamples}
        self.hows = [resampling(document, one).model_copy(update=fewer) for one, _ in self.names]
        # Thousands of times an interval that nobody reads would be most of the work.
        read = {
            (one.id, leaf.estimand) for one in self.hypotheses for leaf in one.rule.leaves() if leaf.reads_interval
        }
        self.by_point = [(one.id, name) not in read for one, name in self.names]
        self.plans = [
            EstimationPlan.of(one.estimands[name], self.world.skeleton, document.design) for one, name in self.names
        ]

    def study(self, number: int) -> list[str]:
        """What the rules say of one simulated study."""
        table = self.world.draw(np.random.Generator(np.random.PCG64([self.seed, number])))
        planned = list[PendingEstimate | Estimate]()
        for plan, how, by_point in zip(self.plans, self.hows, self.by_point, strict=True):
            one = plan.read(table, how, strict=self.strict)
            planned.append(one.point() if by_point and isinstance(one, PendingEstimate) else one)
        estimates = iter(evaluate_each(planned, self.hows))
        outcomes: list[str] = []
        for hypothesis in self.hypotheses:
            estimated = {name: next(estimates) for name in hypothesis.estimands}
            outcomes.append(judge(hypothesis.rule, estimated).outcome)
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
        other = {column for columns in needed.values() for column in columns} - set(document.design.columns)
        if other:
            raise BadDocument(
                f"scenario {name}: only metrics can be described, but an estimand filters by {sorted(other)}",
                fix="take the scenario from a pilot, whose shards have these columns",
            )
        ordered = sorted(needed, key=Cell.order)
        return GivenWorld(name, scenario, document.design, [(cell, frozenset(needed[cell])) for cell in ordered])
    if name not in pilots:
        raise BadDocument(f"scenario {name} is taken from a pilot whose shards are not here", found=scenario.study)
    return PilotWorld(name, pilots[name], document.design, needed)


def _outcomes(
    document: Preregistration, plan: Plan, pilots: Mapping[str, Table], workers: int
) -> Iterator[tuple[str, list[str]]]:
    """Every simulated study's verdicts, with its scenario."""
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
    # Processes of their own: whatever else this one holds (threads, a model) is not carried over.
    with (
        _small_processes(),
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(document, plan, dict(pilots))
        ) as pool,
    ):
        for (scenario, _), outcomes in zip(tasks, pool.map(_simulate, tasks), strict=True):
            yield from ((scenario, one) for one in outcomes)


class _Worker:
    """Simulates what it is told to, and keeps each scenario's preparations."""

    def __init__(self, document: Preregistration, plan: Plan, pilots: Mapping[str, Table]) -> None:
        self.document, self.plan, self.pilots = document, plan, pilots
        self.ready: dict[str, Simulation] = {}

    def __call__(self, task: tuple[str, range]) -> list[list[str]]:
        scenario, numbers = task
        if scenario not in self.ready:
            self.ready = {scenario: Simulation(self.document, self.plan, scenario, self.pilots)}
        return [self.ready[scenario].study(number) for number in numbers]


_worker: _Worker | None = None


def _start(document: Preregistration, plan: Plan, pilots: Mapping[str, Table]) -> None:
    global _worker  # the pool's way to give a process something to keep
    _worker = _Worker(document, plan, pilots)


def _simulate(task: tuple[str, range]) -> list[list[str]]:
    assert _worker is not None  # noqa: S101  # `_start` ran first
    return _worker(task)


@contextmanager
def _small_processes() -> Iterator[None]:
    """Processes started here compute with one thread each, as more would only wait for each other.

    And they keep the memory they had: giving it back between studies takes a quarter of their time (glibc).
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
