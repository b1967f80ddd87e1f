"""From verified evidence to the study's verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from vjepa_stress.digest import Digest, canonical_json
from vjepa_stress.fields import Frozen
from vjepa_stress.prereg.document import CALIBRATION, Cell, Hypothesis, Sensitivity, VideoDesign
from vjepa_stress.prereg.lineage import as_promised, find
from vjepa_stress.prereg.rules import Estimand, Jumps, Rule, Where, filters, leaves
from vjepa_stress.provenance import code_state
from vjepa_stress.records import CheckpointRecord
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.answer import Asked, Estimate, answer, undefined
from vjepa_stress.verdict.gate import Deviation, Evidence
from vjepa_stress.verdict.judge import (
    Exploratory,
    Outcome,
    Verdict,
    clause_exploratory,
    closed_gates,
    judge,
    said_exploratory,
    verdict_exploratory,
)
from vjepa_stress.verdict.multiplicity import holm, p_value, resampling
from vjepa_stress.verdict.question import Question
from vjepa_stress.verdict.resample import Resampling

Said = Literal[Outcome, Exploratory, "withdrawn"]


class EstimateRecord(Frozen):
    """An estimate with what it was computed from."""

    estimand: Estimand
    estimate: Estimate
    shards: tuple[Digest, ...] = Field(description="file digests of the shards used, in the design's order")


class SensitivityRecord(Frozen):
    """An analysis promised beside the registered one."""

    analysis: Sensitivity
    estimate: Estimate
    verdict: Literal[Outcome, Exploratory] = Field(
        description="what the rule would say if it read this estimate; it decides nothing"
    )


class HypothesisVerdict(Frozen):
    """What the rule of one hypothesis says."""

    id: str
    title: str
    family: str
    verdict: Said
    clause: str = Field(description="the clause that fired")
    parts: tuple[Verdict, ...] = Field(description="what the rule's sub-rules say")
    rule: Rule
    estimates: dict[str, EstimateRecord]
    controls: dict[str, dict[str, Estimate]] = Field(description="control model → estimand → the same number")
    # Left out of files where nothing was promised, so that verdicts written before it stay what they are.
    sensitivity: tuple[SensitivityRecord, ...] = Field(default=(), exclude_if=lambda records: not records)
    multiplicity: Literal["none", "bonferroni"]
    level: float | None = Field(
        default=None, exclude_if=lambda level: level is None, description="of this rule's intervals, where corrected"
    )
    p: float | None = Field(
        default=None, exclude_if=lambda p: p is None, description="smallest α at which the rule would confirm"
    )
    p_holm: float | None = Field(
        default=None,
        exclude_if=lambda p: p is None,
        description="the same, adjusted within the family; decides nothing",
    )
    withdrawn: tuple[str, ...] = Field(
        default=(), exclude_if=lambda names: not names, description="estimands that the rule no longer reads"
    )

    @property
    def said(self) -> str:
        """The verdict, and what of the hypothesis it does not cover."""
        parts = ", ".join(f"{self.id}.{name}" for name in self.withdrawn)
        partly = parts and self.verdict != "withdrawn"
        return f"{self.verdict}; part {parts} withdrawn" if partly else self.verdict


class StudyVerdict(Frozen):
    """`verdict.json`: a function of the registration, the shards and the ledger, but not of looks."""

    schema_: Literal["vjepa-stress/verdict/v1"] = Field(alias="schema")
    study: str
    version: str
    prereg_digest: Digest
    root_digest: Digest | None = Field(
        default=None,
        exclude_if=lambda digest: digest is None,
        description="of the document first registered, where that is not the one judged by",
    )
    ledger_checkpoint: CheckpointRecord
    attempt: int
    exploratory: bool
    objections: tuple[str, ...] = Field(description="why this is exploratory")
    hypotheses: tuple[HypothesisVerdict, ...]
    deviations: tuple[Deviation, ...]
    judging_code: Digest

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    def file(self, root: StudyRoot) -> Path:
        """Where it is kept."""
        name = "verdict.exploratory.json" if self.exploratory else "verdict.json"
        return root.outputs(self.study, self.root_digest or self.prereg_digest) / name


def evaluate(evidence: Evidence) -> StudyVerdict:
    """Compute every estimate, apply every rule. The same evidence gives the same bytes."""
    document = evidence.registration.document
    exploratory = bool(evidence.objections)
    judged = [_hypothesis(hypothesis, evidence) for hypothesis in document.hypotheses]
    if document.analysis.multiplicity == "bonferroni":
        judged = _with_p_values(judged, evidence)
    closed = closed_gates({one.id: one.verdict for one in judged if one.family == CALIBRATION})
    if closed:
        clause = f"the calibration gate did not hold: {', '.join(f'{name} {said}' for name, said in closed.items())}"
        shut = {"verdict": "not-evaluable", "clause": clause, "parts": ()}
        judged = [
            one if one.family == CALIBRATION or one.verdict == "withdrawn" else one.model_copy(update=shut)
            for one in judged
        ]
    if exploratory:
        judged = [_exploratory(one) for one in judged]
    return StudyVerdict(
        schema="vjepa-stress/verdict/v1",
        study=document.study,
        version=document.version,
        prereg_digest=evidence.registration.digest,
        root_digest=evidence.registration.root_digest if document.parent else None,
        ledger_checkpoint=CheckpointRecord(size=evidence.checkpoint.size, root=evidence.checkpoint.root),
        attempt=evidence.attempt,
        exploratory=exploratory,
        objections=tuple(objection.what for objection in evidence.objections),
        hypotheses=tuple(judged),
        deviations=evidence.deviations,
        judging_code=code_state().digest,
    )


def _exploratory(one: HypothesisVerdict) -> HypothesisVerdict:
    """The same without the words of verdicts, in every part; why something was withdrawn are its authors' words."""
    beside = [record.model_copy(update={"verdict": said_exploratory(record.verdict)}) for record in one.sensitivity]
    return one.model_copy(
        update={
            "verdict": said_exploratory(one.verdict),
            "clause": one.clause if one.verdict == "withdrawn" else clause_exploratory(one.clause),
            "parts": tuple(verdict_exploratory(part) for part in one.parts),
            "sensitivity": tuple(beside),
        }
    )


def _with_p_values(judged: Sequence[HypothesisVerdict], evidence: Evidence) -> list[HypothesisVerdict]:
    """Each hypothesis with its p-value, adjusted within its family; they decide nothing."""
    document, found = evidence.registration.document, list(judged)
    p_values = {
        one.id: p
        for one in (hypothesis.judged for hypothesis in document.hypotheses)
        if one is not None
        and one.family != CALIBRATION
        and _all_there(one, evidence)
        and (p := p_value(one, evidence.table, document)) is not None
    }
    for family in {one.family for one in judged}:
        members = [n for n, one in enumerate(judged) if one.family == family and one.id in p_values]
        adjusted = holm([p_values[judged[n].id] for n in members])
        for n, value in zip(members, adjusted, strict=True):
            found[n] = judged[n].model_copy(update={"p": p_values[judged[n].id], "p_holm": value})
    return found


def _all_there(hypothesis: Hypothesis, evidence: Evidence) -> bool:
    design = evidence.registration.document.design
    return all(cell in evidence.cells for one in hypothesis.estimands.values() for cell in _cells(one, design))


def _hypothesis(hypothesis: Hypothesis, evidence: Evidence) -> HypothesisVerdict:
    document = evidence.registration.document
    judged_here = set(hypothesis.judged.estimands) if hypothesis.judged else set()
    subjects = {
        name: one
        for name, one in hypothesis.estimands.items()
        if name in judged_here or as_promised(evidence.registration.lineage, hypothesis, name)
    }
    controls = {
        (control, name): other
        for control in sorted(name for name, entry in document.design.models.items() if entry.role == "control")
        for name, estimand in subjects.items()
        if (other := for_control(estimand, control, document.design))
    }
    # What is withdrawn is estimated and shown, and decides nothing.
    rule = hypothesis.rest
    read = {leaf.estimand for leaf in leaves(rule)} if rule else set()
    promised = [one for one in document.sensitivity if one.hypothesis == hypothesis.id and one.estimand in read]
    others = [subjects[analysis.estimand].model_copy(update={"interval": "cluster"}) for analysis in promised]
    how = resampling(document, hypothesis)
    estimates = iter(_estimates([*subjects.values(), *controls.values(), *others], evidence, how))

    records = {
        name: EstimateRecord(estimand=estimand, estimate=next(estimates), shards=_shards(estimand, evidence))
        for name, estimand in subjects.items()
    }
    judged = {name: record.estimate for name, record in records.items()}
    verdict = judge(rule, judged) if rule else None
    beside: dict[str, dict[str, Estimate]] = {}
    for control, name in controls:
        beside.setdefault(control, {})[name] = next(estimates)
    sensitivity = []
    for analysis in promised:
        estimate = next(estimates)
        assert rule is not None  # noqa: S101  # it reads what was promised
        said = judge(rule, judged | {analysis.estimand: estimate}).outcome
        sensitivity.append(SensitivityRecord(analysis=analysis, estimate=estimate, verdict=said))
    return HypothesisVerdict(
        id=hypothesis.id,
        title=hypothesis.title,
        family=hypothesis.family,
        verdict=verdict.outcome if verdict else "withdrawn",
        clause=verdict.clause
        if verdict
        else _withdrawal(hypothesis, evidence, lost=len(subjects) < len(hypothesis.estimands)),
        parts=verdict.parts if verdict else (),
        rule=hypothesis.rule,
        estimates=records,
        controls=beside,
        sensitivity=tuple(sensitivity),
        multiplicity=document.analysis.multiplicity,
        level=how.level if how.level != document.analysis.confidence_level else None,
        withdrawn=hypothesis.withdrawn,
    )


def _withdrawal(hypothesis: Hypothesis, evidence: Evidence, *, lost: bool) -> str:
    """When and why a hypothesis was withdrawn; `lost` says that the design no longer has all of its cells."""
    for edition in evidence.registration.lineage:
        found = find(edition.document, hypothesis.id)
        if found is not None and found.status == "withdrawn" and edition.document.amendment is not None:
            gone = " (Not all of its cells are in the design any more.)" if lost else ""
            return f"withdrawn in {edition.document.version}: {edition.document.amendment.changes}{gone}"
    raise ValueError(f"{hypothesis.id} is not withdrawn")


def for_control(estimand: Estimand, control: str, design: VideoDesign) -> Estimand | None:
    """The same estimand computed on a control; None where that says nothing.

    An order of models has no place for a control, and what compares two models, or a model with a control, would
    compare the control with itself.
    """
    if isinstance(estimand, Jumps):
        return None
    changed = {
        name: value.model_copy(update={"model": (control,)})
        for name, value in vars(estimand).items()
        if isinstance(value, Where)
    }
    other = estimand.model_copy(update=changed)
    chosen = [(design.select(where), where.rows) for where in filters(other)]
    distinct = all(one != another for n, one in enumerate(chosen) for another in chosen[:n])
    return other if distinct and all(cells for cells, _ in chosen) else None


def _cells(estimand: Estimand, design: VideoDesign) -> list[Cell]:
    cells = {cell for where in filters(estimand) for cell in design.select(where)}
    return [cell for cell in design.cells if cell in cells]


def _shards(estimand: Estimand, evidence: Evidence) -> tuple[Digest, ...]:
    used = _cells(estimand, evidence.registration.document.design)
    return tuple(evidence.cells[cell].manifest.shard_digest for cell in used if cell in evidence.cells)


def _estimates(estimands: Sequence[Estimand], evidence: Evidence, how: Resampling) -> list[Estimate]:
    document, asked = evidence.registration.document, list[Asked | Estimate]()
    strict = document.analysis.missing_data == "not-evaluable"
    for estimand in estimands:
        missing = [cell for cell in _cells(estimand, document.design) if cell not in evidence.cells]
        if missing:  # only an exploratory reading comes here
            asked.append(undefined(0, "none", f"{len(missing)} cells missing"))
        else:
            question = Question.of(estimand, evidence.table, document.design)
            asked.append(question.put(evidence.table, how, strict=strict))
    return answer(asked, how)
