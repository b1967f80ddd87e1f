"""Simulated studies of one world, judged like the real one: with its estimands, rules, gates and looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.design import Cell
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration
from vjepa_stress.prereg.scenarios import WORLDS, Given, Plan
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.verdict.author_free import Dose, Noise, Shuffled, dose_factor, null_of_pilot, null_of_scenario
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.judge import closed_gates, judge, levels_read
from vjepa_stress.verdict.multiplicity import leaf_levels, resampling
from vjepa_stress.verdict.needed import columns_of, needed_by
from vjepa_stress.verdict.order import of_first_sources
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.sequential import DECIDED, looks_at
from vjepa_stress.verdict.severity import Border, at_borders
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import GivenWorld, PilotWorld, World

Judged = tuple[str, Border | None]
"""A hypothesis, judged as simulated or with its truth at a border."""


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


def active_in(document: Preregistration) -> list[Hypothesis]:
    """The hypotheses that are judged, without withdrawn estimands."""
    return [one for hypothesis in document.hypotheses if (one := hypothesis.judged) is not None]


def needed_in(document: Preregistration, hypotheses: Sequence[Hypothesis]) -> dict[Cell, frozenset[str]]:
    """The columns that some hypotheses read in each cell."""
    return needed_by((one for hypothesis in hypotheses for one in hypothesis.estimands.values()), document.design)


@dataclass(frozen=True)
class _Look:
    """Hypotheses that are judged with the same sources.

    Attributes:
        hypotheses: the hypotheses.
        plans: hypothesis and estimand → the plan for tables of these sources.
        kept: (units,), whether the look has the source of a unit; None for all.
        skeleton: the units of the look, without values.
    """

    hypotheses: Sequence[Hypothesis]
    plans: Mapping[tuple[str, str], EstimationPlan]
    kept: NDArray[np.bool_] | None
    skeleton: Table

    def of(self, table: Table, whole: Table) -> Table:
        """The part of a simulated table that the look reads, given the skeleton of the world."""
        if self.kept is None or self.skeleton is whole:
            return table
        part = table.only(self.kept)
        # Plans are fast for tables that share `present` with theirs.
        return replace(part, present=self.skeleton.present) if table.present is whole.present else part


class Simulation:
    """A world that is prepared for simulation."""

    def __init__(self, document: Preregistration, plan: Plan, run: Run, pilots: Mapping[str, Table]) -> None:
        self.hypotheses = [one for one in active_in(document) if one.id in run.hypotheses]
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
        self.plans = self._plans(document, self.world.skeleton, self.hypotheses)
        # Intervals that no rule reads are not computed, because they would take most of the time.
        self.wanted: dict[tuple[str, str], list[float]] = {}
        for one in self.hypotheses:
            for leaf, level in levels_read(one.rule, self.levels[one.id], self.own[one.id]):
                if leaf.reads_interval:
                    self.wanted.setdefault((one.id, leaf.estimand), []).append(level)
        self.points = self.plans.keys() - self.wanted.keys()
        self.wanted |= {key: [self.how.level] for key in self.points}
        # Hypotheses that are read at the same registered looks are judged together; without looks, once.
        by_look: dict[int | None, list[Hypothesis]] = {}
        for one in self.hypotheses:
            for sources in looks_at(one, document) or (None,):
                by_look.setdefault(sources, []).append(one)
        self.looks = [self._look(document, sources, run.scale, ones) for sources, ones in by_look.items()]
        severe = [] if run.scale != 1 else [one for one in self.hypotheses if plan.claimed(one.id) == run.world]
        severe = [one for one in severe if one.family != CALIBRATION]
        self.at_borders = at_borders(document, severe, self.plans, self.world, self.how, plan.seed)

    @staticmethod
    def _plans(
        document: Preregistration, skeleton: Table, hypotheses: Sequence[Hypothesis]
    ) -> dict[tuple[str, str], EstimationPlan]:
        return {
            (one.id, name): EstimationPlan.of(estimand, skeleton, document.design)
            for one in hypotheses
            for name, estimand in one.estimands.items()
        }

    def _look(
        self, document: Preregistration, sources: int | None, scale: float, hypotheses: Sequence[Hypothesis]
    ) -> _Look:
        whole, seed = self.world.skeleton, document.analysis.bootstrap_seed
        if sources is None:
            return _Look(hypotheses, self.plans, None, whole)
        kept = of_first_sources(whole, max(2, round(scale * sources)), document.design, seed)
        skeleton = whole if kept.all() else whole.only(kept)
        return _Look(hypotheses, self._plans(document, skeleton, hypotheses), kept, skeleton)

    def study(self, number: int) -> dict[Judged, str]:
        """The verdicts of one simulated study."""
        table = self.world.draw(np.random.Generator(np.random.PCG64([self.seed, number])))
        verdicts: dict[Judged, str] = {}
        for look in self.looks:
            found = self._judged(look, look.of(table, self.world.skeleton))
            # The first look that confirms or refutes decides.
            verdicts |= {judged: outcome for judged, outcome in found.items() if verdicts.get(judged) not in DECIDED}
        gates = {one.id: verdicts[one.id, None] for one in self.hypotheses if one.family == CALIBRATION}
        if self.gated and closed_gates(self.withdrawn_gates | gates):
            closed = {(one.id, None): gates.get(one.id, "not-evaluable") for one in self.hypotheses}
            return verdicts | closed
        return verdicts

    def _judged(self, look: _Look, table: Table) -> dict[Judged, str]:
        """The outcomes at one look, as simulated and with the truth at the borders."""
        wanted = {key: self.wanted[key] for key in look.plans}
        first = {key: levels[0] for key, levels in wanted.items()}
        by_level = ByLevel(look.plans, table, self.how, strict=self.strict, first=first, points=self.points)
        estimates = by_level.at((key, level) for key, levels in wanted.items() for level in levels)
        seen: dict[str, dict[tuple[str, float], Estimate]] = {one.id: {} for one in look.hypotheses}
        for ((hypothesis_id, name), level), estimate in estimates.items():
            seen[hypothesis_id][name, level] = estimate
        outcomes: dict[Judged, str] = {}
        for hypothesis in look.hypotheses:
            at, own = seen[hypothesis.id], self.own[hypothesis.id]
            # A leaf without levels reads the level of the hypothesis, or only a value, which is equal at all levels.
            estimated = {name: at.get((name, own), estimate) for (name, _), estimate in at.items()}
            levels = self.levels[hypothesis.id]
            outcomes[hypothesis.id, None] = judge(hypothesis.rule, estimated, levels, at).outcome
            if hypothesis.id in self.at_borders:
                of_borders = self.at_borders[hypothesis.id].outcomes(estimated, levels, at)
                outcomes |= {(hypothesis.id, border): outcome for border, outcome in of_borders}
        return outcomes


def _world(
    document: Preregistration, plan: Plan, run: Run, hypotheses: Sequence[Hypothesis], pilots: Mapping[str, Table]
) -> World:
    design, needed = document.design, needed_in(document, hypotheses)
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
