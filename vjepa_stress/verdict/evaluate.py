"""Evaluation of verified evidence: the verdict of a study, as codes and numbers, without sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from vjepa_stress.design import Cell, Design
from vjepa_stress.digest import Digest, canonical_json
from vjepa_stress.fields import Finite, Frozen
from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Sensitivity
from vjepa_stress.prereg.lineage import find, has_same_meaning
from vjepa_stress.provenance import code_state
from vjepa_stress.records import CheckpointRecord
from vjepa_stress.rules import AnyRule, Outcome, Rule
from vjepa_stress.statistics import Estimand, Statistic
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, undefined
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.gate import Deviation, Evidence
from vjepa_stress.verdict.judge import Exploratory, Levels, Verdict, closed_gates, exploratory, judge
from vjepa_stress.verdict.multiplicity import holm, leaf_levels, p_value, resampling
from vjepa_stress.verdict.plan import EstimationPlan

Final = Literal[Outcome, Exploratory, "withdrawn"]
"""Final outcome of a hypothesis."""


class Companion(Frozen):
    """An estimate that is printed beside another, such as the correlation within cells beside a pooled correlation.

    It decides nothing.
    """

    estimand: Estimand
    estimate: Estimate
    controls: dict[str, Estimate] = Field(description="the same estimand computed on each control")


class AtLevel(Frozen):
    """An estimate at a level that is not that of its hypothesis."""

    level: Finite
    estimate: Estimate


class EstimateRecord(Frozen):
    """An estimate at the level of its hypothesis, with its estimand, shards, and the other levels that were read."""

    estimand: Estimand
    estimate: Estimate
    companion: Companion | None = Field(default=None, exclude_if=lambda one: one is None)
    others: tuple[AtLevel, ...] = Field(default=(), exclude_if=lambda others: not others)
    shards: tuple[Digest, ...] = Field(description="file digests of the shards used, in the order of the design")


class SensitivityRecord(Frozen):
    """A registered sensitivity analysis. It decides nothing."""

    analysis: Sensitivity
    estimate: Estimate
    verdict: Literal[Outcome, Exploratory] = Field(
        description="outcome of the rule with this estimate; it decides nothing"
    )


class Withdrawal(Frozen):
    """Withdrawal of a hypothesis.

    Attributes:
        version: version of the document that withdrew it.
        cells_lost: whether the design no longer has all of its cells.
    """

    version: str
    cells_lost: bool


class HypothesisVerdict(Frozen):
    """The verdict on one hypothesis.

    Attributes:
        verdict: the outcome.
        decision: verdict of the rule, with its clauses; null if the hypothesis was not judged.
        gates: failed calibration hypotheses with their outcomes. If there are any, the hypothesis was not judged.
        withdrawal: set if the whole hypothesis is withdrawn.
        controls: control → estimand → estimate on the control.
        controls_outcome: control → outcome of the rule on the control, if all estimands of the rule have a meaning
            there. It decides nothing.
        level: level of its intervals, if corrected for multiplicity.
        p: smallest α at which the rule confirms; `p_holm` is adjusted within the family. They decide nothing.
        withdrawn: estimands that the rule no longer reads.
    """

    id: str
    family: str
    verdict: Final
    decision: Verdict | None
    gates: dict[str, str] = Field(default={}, exclude_if=lambda gates: not gates)
    withdrawal: Withdrawal | None = Field(default=None, exclude_if=lambda one: one is None)
    rule: AnyRule
    estimates: dict[str, EstimateRecord]
    controls: dict[str, dict[str, Estimate]]
    controls_outcome: dict[str, Literal[Outcome, Exploratory]] = Field(
        default={}, exclude_if=lambda outcomes: not outcomes
    )
    sensitivity: tuple[SensitivityRecord, ...] = Field(default=(), exclude_if=lambda records: not records)
    multiplicity: Literal["none", "bonferroni"]
    level: Finite | None = Field(default=None, exclude_if=lambda level: level is None)
    p: Finite | None = Field(default=None, exclude_if=lambda p: p is None)
    p_holm: Finite | None = Field(default=None, exclude_if=lambda p: p is None)
    withdrawn: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)

    @property
    def other_levels(self) -> dict[tuple[str, float], Estimate]:
        """Estimates by name and level, for all levels that were read besides that of the hypothesis."""
        return {(name, one.level): one.estimate for name, record in self.estimates.items() for one in record.others}

    @property
    def not_specific(self) -> tuple[str, ...]:
        """Controls that are confirmed like the subjects. Every control should pass a gate."""
        if self.family == CALIBRATION or self.verdict not in ("confirmed", "exploratory-for"):
            return ()
        return tuple(name for name, outcome in self.controls_outcome.items() if outcome == self.verdict)

    def exploratory(self) -> HypothesisVerdict:
        """The verdict with exploratory outcomes in every part."""
        records = [one.model_copy(update={"verdict": exploratory(one.verdict)}) for one in self.sensitivity]
        return self.model_copy(
            update={
                "verdict": exploratory(self.verdict),
                "decision": self.decision.exploratory() if self.decision else None,
                "gates": {name: exploratory(outcome) for name, outcome in self.gates.items()},
                "controls_outcome": {name: exploratory(one) for name, one in self.controls_outcome.items()},
                "sensitivity": tuple(records),
            }
        )


class StudyVerdict(Frozen):
    """`verdict.json`: a function of the registration, the shards and the ledger, except for looks."""

    schema_: Literal["vjepa-stress/verdict/v2"] = Field(alias="schema")
    study: str
    version: str
    prereg_digest: Digest
    root_digest: Digest = Field(description="digest of the first document of the study")
    ledger_checkpoint: CheckpointRecord
    attempt: int
    exploratory: bool
    objections: tuple[str, ...] = Field(description="error classes of the failed checks; empty unless exploratory")
    hypotheses: tuple[HypothesisVerdict, ...]
    deviations: tuple[Deviation, ...]
    judging_code: Digest

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    def file(self, root: StudyRoot) -> Path:
        """Path of the file."""
        name = "verdict.exploratory.json" if self.exploratory else "verdict.json"
        return root.outputs(self.study, self.root_digest) / name


def evaluate(evidence: Evidence) -> StudyVerdict:
    """Compute all estimates and apply all rules. The same evidence gives the same bytes."""
    document = evidence.registration.document
    judged = [_hypothesis(hypothesis, evidence) for hypothesis in document.hypotheses]
    if document.analysis.multiplicity == "bonferroni":
        judged = _with_p_values(judged, evidence)
    closed = closed_gates({one.id: one.verdict for one in judged if one.family == CALIBRATION})
    if closed:
        not_judged = {"verdict": "not-evaluable", "decision": None, "gates": closed, "controls_outcome": {}}
        judged = [
            one if one.family == CALIBRATION or one.verdict == "withdrawn" else one.model_copy(update=not_judged)
            for one in judged
        ]
    if evidence.objections:
        judged = [one.exploratory() for one in judged]
    return StudyVerdict(
        schema="vjepa-stress/verdict/v2",
        study=document.study,
        version=document.version,
        prereg_digest=evidence.registration.digest,
        root_digest=evidence.registration.root_digest,
        ledger_checkpoint=CheckpointRecord(size=evidence.checkpoint.size, root=evidence.checkpoint.root),
        attempt=evidence.attempt,
        exploratory=bool(evidence.objections),
        objections=tuple(type(objection).__name__ for objection in evidence.objections),
        hypotheses=tuple(judged),
        deviations=evidence.deviations,
        judging_code=code_state().digest,
    )


def _with_p_values(judged: Sequence[HypothesisVerdict], evidence: Evidence) -> list[HypothesisVerdict]:
    """Add p-values, adjusted within each family. They decide nothing."""
    document, verdicts = evidence.registration.document, list(judged)
    p_values = {
        one.id: p
        for one in (hypothesis.judged for hypothesis in document.hypotheses)
        if one is not None
        and one.family != CALIBRATION
        and _has_all_cells(one, evidence)
        and (p := p_value(one, evidence.table, document)) is not None
    }
    for family in {one.family for one in judged}:
        members = [n for n, one in enumerate(judged) if one.family == family and one.id in p_values]
        adjusted = holm([p_values[judged[n].id] for n in members])
        for n, value in zip(members, adjusted, strict=True):
            verdicts[n] = judged[n].model_copy(update={"p": p_values[judged[n].id], "p_holm": value})
    return verdicts


def _has_all_cells(hypothesis: Hypothesis, evidence: Evidence) -> bool:
    design = evidence.registration.document.design
    return all(cell in evidence.cells for one in hypothesis.estimands.values() for cell in _cells(one, design))


def _hypothesis(hypothesis: Hypothesis, evidence: Evidence) -> HypothesisVerdict:
    document = evidence.registration.document
    active = set(hypothesis.judged.estimands) if hypothesis.judged else set()
    subjects = {
        name: one
        for name, one in hypothesis.estimands.items()
        if name in active or has_same_meaning(evidence.registration.lineage, hypothesis, name)
    }
    on_controls = {
        control: {
            name: other
            for name, estimand in subjects.items()
            if (other := for_control(estimand, control, document.design))
        }
        for control in document.design.controls
    }
    # Withdrawn estimands are computed and reported, but decide nothing.
    rule = hypothesis.rest
    read = {leaf.estimand for leaf in rule.leaves()} if rule else set()
    analyses = [one for one in document.sensitivity if one.hypothesis == hypothesis.id and one.estimand in read]
    others = [
        {analysis.estimand: subjects[analysis.estimand].model_copy(update={"interval": "expanded"})}
        for analysis in analyses
    ]
    how = resampling(document, hypothesis)
    levels = leaf_levels(document, hypothesis)
    # The same rule on the subjects, on each control, and with each sensitivity analysis.
    seen, *found = _estimates([subjects, *on_controls.values(), *others], hypothesis, levels, evidence, how)
    controls, analysed = found[: len(on_controls)], found[len(on_controls) :]
    companions = _companions(subjects, evidence, how)

    records = {
        name: EstimateRecord(
            estimand=estimand,
            estimate=seen[name, how.level],
            others=tuple(
                AtLevel(level=level, estimate=one)
                for (other, level), one in seen.items()
                if other == name and level != how.level
            ),
            companion=companions.get(name),
            shards=_shards(estimand, evidence),
        )
        for name, estimand in subjects.items()
    }
    decision = _judge(rule, seen, levels, how) if rule else None
    sensitivity = [
        SensitivityRecord(
            analysis=analysis,
            estimate=one[analysis.estimand, how.level],
            verdict=_judge(rule, seen | one, levels, how).outcome,
        )
        for analysis, one in zip(analyses, analysed, strict=True)
        if rule is not None
    ]
    lost = len(subjects) < len(hypothesis.estimands)
    return HypothesisVerdict(
        id=hypothesis.id,
        family=hypothesis.family,
        verdict=decision.outcome if decision else "withdrawn",
        decision=decision,
        withdrawal=None if decision else Withdrawal(version=_withdrawn_in(hypothesis, evidence), cells_lost=lost),
        rule=hypothesis.rule,
        estimates=records,
        controls={
            control: {name: one[name, how.level] for name in on_controls[control]}
            for control, one in zip(on_controls, controls, strict=True)
            if on_controls[control]
        },
        controls_outcome={
            control: _judge(rule, one, levels, how).outcome
            for control, one in zip(on_controls, controls, strict=True)
            if rule is not None and read <= on_controls[control].keys()
        },
        sensitivity=tuple(sensitivity),
        multiplicity=document.analysis.multiplicity,
        level=how.level if how.level != document.analysis.confidence_level else None,
        withdrawn=hypothesis.withdrawn,
    )


def _companions(subjects: Mapping[str, Statistic], evidence: Evidence, how: Resampling) -> dict[str, Companion]:
    """The estimates that are printed beside others, by the names of the others."""
    design = evidence.registration.document.design
    beside = {name: other for name, one in subjects.items() if (other := one.companion(design)) is not None}
    estimands: dict[tuple[str, str | None], Statistic] = {(name, None): one for name, one in beside.items()}
    estimands |= {
        (name, control): other
        for name, one in beside.items()
        for control in design.controls
        if (other := for_control(one, control, design)) is not None
    }
    plans = {key: _plan(one, evidence) for key, one in estimands.items()}
    strict = evidence.registration.document.analysis.strict
    found = ByLevel(plans, evidence.table, how, strict=strict).at([(key, how.level) for key in plans])
    controls: dict[str, dict[str, Estimate]] = {name: {} for name in beside}
    for name, control in estimands:
        if control is not None:
            controls[name][control] = found[(name, control), how.level]
    return {
        name: Companion(estimand=one, estimate=found[(name, None), how.level], controls=controls[name])
        for name, one in beside.items()
    }


def _withdrawn_in(hypothesis: Hypothesis, evidence: Evidence) -> str:
    """The version that withdrew a hypothesis."""
    for edition in evidence.registration.lineage:
        found = find(edition.document, hypothesis.id)
        if found is not None and found.status == "withdrawn":
            return edition.document.version
    raise ValueError(f"{hypothesis.id} is not withdrawn")


def for_control(estimand: Statistic, control: str, design: Design) -> Statistic | None:
    """The same estimand computed on a control; None if it has no meaning on a control.

    An estimand that compares two subjects, or a subject with a control, would compare the control with itself.
    """
    if design.control_factor is None:
        return None
    other = estimand.on_control(design.control_factor, control)
    if other is None:
        return None
    chosen = [(design.select(where), where.rows) for where in other.filters()]
    distinct = all(one != another for n, one in enumerate(chosen) for another in chosen[:n])
    return other if distinct and all(cells for cells, _ in chosen) else None


def _cells(estimand: Statistic, design: Design) -> list[Cell]:
    cells = {cell for where in estimand.filters() for cell in design.select(where)}
    return [cell for cell in design.cells if cell in cells]


def _shards(estimand: Statistic, evidence: Evidence) -> tuple[Digest, ...]:
    used = _cells(estimand, evidence.registration.document.design)
    return tuple(evidence.cells[cell].manifest.shard_digest for cell in used if cell in evidence.cells)


_AtLevels = dict[tuple[str, float], Estimate]
"""Estimates by name and level."""


def _judge(rule: Rule, seen: _AtLevels, levels: Sequence[Levels | None], how: Resampling) -> Verdict:
    """Apply a rule to estimates at the level of the hypothesis, and at those of its leaves."""
    return judge(rule, {name: one for (name, level), one in seen.items() if level == how.level}, levels, seen)


def _estimates(
    several: Sequence[Mapping[str, Statistic]],
    hypothesis: Hypothesis,
    levels: Sequence[Levels | None],
    evidence: Evidence,
    how: Resampling,
) -> list[_AtLevels]:
    """Several sets of estimands with the names of a hypothesis, at the level of `how` and at those of its leaves."""
    leaves = list(hypothesis.rest.leaves()) if hypothesis.rest else []
    read = {
        (leaf.estimand, level)
        for leaf, one in zip(leaves, levels, strict=False)
        if one
        for level in (one.confirm, one.refute)
    }
    plans: dict[tuple[int, str], EstimationPlan | Estimate] = {}
    for n, estimands in enumerate(several):
        plans |= {(n, name): _plan(estimand, evidence) for name, estimand in estimands.items()}
    strict = evidence.registration.document.analysis.strict
    wanted = [
        ((n, name), level)
        for n, name in plans
        for level in (how.level, *sorted(level for other, level in read if other == name and level != how.level))
    ]
    found = ByLevel(plans, evidence.table, how, strict=strict).at(wanted)
    return [
        {(name, level): found[(n, name), level] for (other, name), level in wanted if other == n}
        for n in range(len(several))
    ]


def _plan(estimand: Statistic, evidence: Evidence) -> EstimationPlan | Estimate:
    design = evidence.registration.document.design
    missing = [cell for cell in _cells(estimand, design) if cell not in evidence.cells]
    if missing:  # only in an exploratory evaluation
        return undefined(0, "none", Note(code="cells-missing", value=len(missing)))
    return EstimationPlan.of(estimand, evidence.table, design)
