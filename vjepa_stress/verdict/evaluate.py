"""Evaluation of verified evidence: the verdict of a study, as codes and numbers, without sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from vjepa_stress.design import Design
from vjepa_stress.digest import Digest, canonical_json
from vjepa_stress.fields import Finite, Frozen
from vjepa_stress.prereg.document import CALIBRATION, Hypothesis
from vjepa_stress.prereg.lineage import find, has_same_meaning
from vjepa_stress.provenance import code_state
from vjepa_stress.records import CheckpointRecord
from vjepa_stress.rules import AnyRule, Outcome
from vjepa_stress.statistics import Estimand, Statistic
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.at_levels import estimates_at_levels, judge_at_levels, plan_of
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.gate import Deviation, Evidence
from vjepa_stress.verdict.judge import Exploratory, Verdict, closed_gates, exploratory
from vjepa_stress.verdict.multiplicity import holm, leaf_levels, p_value, resampling
from vjepa_stress.verdict.multiverse import AlternativeRecord, multiverse
from vjepa_stress.verdict.needed import cells_of
from vjepa_stress.verdict.sequential import LookRecord, at_look, deciding, looks_at

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
        alternatives: outcomes of the rule under the registered alternatives; empty if the hypothesis was not judged
            or cells are missing. They decide nothing.
        controls: control → estimand → estimate on the control.
        controls_outcome: control → outcome of the rule on the control, if all estimands of the rule have a meaning
            there. It decides nothing.
        level: level of its intervals, if corrected for multiplicity.
        p: smallest α at which the rule confirms; `p_holm` is adjusted within the family. They decide nothing.
        withdrawn: estimands that the rule no longer reads.
        look: in a sequential study, the number of sources of the look that decides. Other fields are of this look.
        looks: in a sequential study, all registered looks.
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
    alternatives: tuple[AlternativeRecord, ...] = Field(default=(), exclude_if=lambda records: not records)
    multiplicity: Literal["none", "bonferroni"]
    level: Finite | None = Field(default=None, exclude_if=lambda level: level is None)
    p: Finite | None = Field(default=None, exclude_if=lambda p: p is None)
    p_holm: Finite | None = Field(default=None, exclude_if=lambda p: p is None)
    withdrawn: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    look: int | None = Field(default=None, exclude_if=lambda look: look is None)
    looks: tuple[LookRecord, ...] = Field(default=(), exclude_if=lambda looks: not looks)

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
        return self.model_copy(
            update={
                "verdict": exploratory(self.verdict),
                "decision": self.decision.exploratory() if self.decision else None,
                "gates": {name: exploratory(outcome) for name, outcome in self.gates.items()},
                "controls_outcome": {name: exploratory(one) for name, one in self.controls_outcome.items()},
                "alternatives": tuple(one.exploratory() for one in self.alternatives),
                "looks": tuple(one.exploratory() for one in self.looks),
            }
        )


class StudyVerdict(Frozen):
    """`verdict.json`: a function of the registration, the shards and the ledger, except for looks."""

    schema_: Literal["vjepa-stress/verdict/v3"] = Field(alias="schema")
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
    judged = [_at_looks(hypothesis, evidence) for hypothesis in document.hypotheses]
    if document.analysis.multiplicity == "bonferroni":
        judged = _with_p_values(judged, evidence)
    closed = closed_gates({one.id: one.verdict for one in judged if one.family == CALIBRATION})
    if closed:
        not_judged = {
            "verdict": "not-evaluable",
            "decision": None,
            "gates": closed,
            "controls_outcome": {},
            "looks": (),
            "look": None,
        }
        judged = [
            one if one.family == CALIBRATION or one.verdict == "withdrawn" else one.model_copy(update=not_judged)
            for one in judged
        ]
    judged = [_with_alternatives(one, evidence) for one in judged]
    if evidence.objections:
        judged = [one.exploratory() for one in judged]
    return StudyVerdict(
        schema="vjepa-stress/verdict/v3",
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
    looks = {one.id: one.look for one in judged}
    p_values = {
        one.id: p
        for one in (hypothesis.judged for hypothesis in document.hypotheses)
        if one is not None
        and one.family != CALIBRATION
        and _has_all_cells(one, evidence)
        and (p := p_value(one, at_look(evidence.table, looks[one.id], document), document)) is not None
    }
    for family in {one.family for one in judged}:
        members = [n for n, one in enumerate(judged) if one.family == family and one.id in p_values]
        adjusted = holm([p_values[judged[n].id] for n in members])
        for n, value in zip(members, adjusted, strict=True):
            verdicts[n] = judged[n].model_copy(update={"p": p_values[judged[n].id], "p_holm": value})
    return verdicts


def _with_alternatives(one: HypothesisVerdict, evidence: Evidence) -> HypothesisVerdict:
    """Add the outcomes under the registered alternatives, if the hypothesis was judged and has all its cells."""
    document = evidence.registration.document
    judged = next(hypothesis.judged for hypothesis in document.hypotheses if hypothesis.id == one.id)
    if one.decision is None or judged is None or not _has_all_cells(judged, evidence):
        return one
    table = at_look(evidence.table, one.look, document)
    records = multiverse(judged, document.sensitivity, table, document)
    return one.model_copy(update={"alternatives": records})


def _has_all_cells(hypothesis: Hypothesis, evidence: Evidence) -> bool:
    design = evidence.registration.document.design
    return all(cell in evidence.cells for one in hypothesis.estimands.values() for cell in cells_of(one, design))


def _at_looks(hypothesis: Hypothesis, evidence: Evidence) -> HypothesisVerdict:
    """The verdict at the registered look that decides, with the outcomes of all looks."""
    document = evidence.registration.document
    looks = {
        sources: _hypothesis(hypothesis, replace(evidence, table=at_look(evidence.table, sources, document)))
        for sources in looks_at(hypothesis, document)
    }
    if not looks:
        return _hypothesis(hypothesis, evidence)
    records = tuple(
        LookRecord(
            sources=sources,
            outcome=one.decision.outcome,
            estimates={name: record.estimate for name, record in one.estimates.items()},
        )
        for sources, one in looks.items()
        if one.decision is not None
    )
    look = deciding({sources: one.verdict for sources, one in looks.items()})
    return looks[look].model_copy(update={"look": look, "looks": records})


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
    how = resampling(document, hypothesis)
    levels = leaf_levels(document, hypothesis)
    # The same rule on the subjects and on each control.
    seen, *controls = estimates_at_levels([subjects, *on_controls.values()], hypothesis, levels, evidence, how)
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
    decision = judge_at_levels(rule, seen, levels, how.level) if rule else None
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
            control: judge_at_levels(rule, one, levels, how.level).outcome
            for control, one in zip(on_controls, controls, strict=True)
            if rule is not None and read <= on_controls[control].keys()
        },
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
    plans = {key: plan_of(one, evidence) for key, one in estimands.items()}
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


def _shards(estimand: Statistic, evidence: Evidence) -> tuple[Digest, ...]:
    used = cells_of(estimand, evidence.registration.document.design)
    return tuple(evidence.cells[cell].manifest.shard_digest for cell in used if cell in evidence.cells)
