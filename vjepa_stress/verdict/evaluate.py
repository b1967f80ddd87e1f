"""From verified evidence to the study's verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vjepa_stress.digest import Digest, canonical_json
from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, VideoDesign
from vjepa_stress.prereg.root import StudyRoot
from vjepa_stress.prereg.rules import (
    Estimand,
    Frozen,
    Maximum,
    Mean,
    RatioOfMeans,
    Rule,
    Trend,
    Where,
    filters,
)
from vjepa_stress.provenance import code_state
from vjepa_stress.records import CheckpointRecord
from vjepa_stress.verdict.estimate import Estimate, Resampling, bootstrap_mean, maximum, ratio_of_means, trend
from vjepa_stress.verdict.gate import Deviation, Evidence
from vjepa_stress.verdict.judge import Verdict, judge
from vjepa_stress.verdict.table import Floats, Table

Said = Literal[
    "confirmed",
    "ambiguous",
    "refuted",
    "withdrawn",
    "not-evaluable",
    "exploratory-for",
    "exploratory-open",
    "exploratory-against",
]
# An exploratory reading has words of its own, so that no page of it can be quoted as a verdict.
_EXPLORATORY: dict[str, Said] = {
    "confirmed": "exploratory-for",
    "ambiguous": "exploratory-open",
    "refuted": "exploratory-against",
}


class EstimateRecord(Frozen):
    """An estimate with what it was computed from."""

    estimand: Estimand
    estimate: Estimate
    shards: tuple[Digest, ...] = Field(description="file digests of the shards used, in the design's order")


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
    multiplicity: Literal["none"]


class StudyVerdict(Frozen):
    """`verdict.json`: a function of the registration, the shards and the ledger, but not of looks."""

    schema_: Literal["vjepa-stress/verdict/v1"] = Field(alias="schema")
    study: str
    version: str
    prereg_digest: Digest
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
        return root.outputs(self.study, self.prereg_digest) / name


def evaluate(evidence: Evidence) -> StudyVerdict:
    """Compute every estimate, apply every rule. The same evidence gives the same bytes."""
    document = evidence.registration.document
    exploratory = bool(evidence.objections)
    judged = [_hypothesis(hypothesis, evidence) for hypothesis in document.hypotheses]
    closed = [one for one in judged if one.family == CALIBRATION and one.verdict != "confirmed"]
    if closed:
        gates = ", ".join(f"{one.id} {one.verdict}" for one in closed)
        clause = f"the calibration gate did not hold: {gates}"
        shut = {"verdict": "not-evaluable", "clause": clause, "parts": ()}
        judged = [one if one.family == CALIBRATION else one.model_copy(update=shut) for one in judged]
    if exploratory:
        judged = [one.model_copy(update={"verdict": _EXPLORATORY.get(one.verdict, one.verdict)}) for one in judged]
    return StudyVerdict(
        schema="vjepa-stress/verdict/v1",
        study=document.study,
        version=document.version,
        prereg_digest=evidence.registration.digest,
        ledger_checkpoint=CheckpointRecord(size=evidence.checkpoint.size, root=evidence.checkpoint.root),
        attempt=evidence.attempt,
        exploratory=exploratory,
        objections=tuple(objection.what for objection in evidence.objections),
        hypotheses=tuple(judged),
        deviations=evidence.deviations,
        judging_code=code_state().digest,
    )


def _hypothesis(hypothesis: Hypothesis, evidence: Evidence) -> HypothesisVerdict:
    document = evidence.registration.document
    records = {name: _record(estimand, evidence) for name, estimand in hypothesis.estimands.items()}
    verdict = judge(hypothesis.rule, {name: record.estimate for name, record in records.items()})
    controls: dict[str, dict[str, Estimate]] = {}
    for control in sorted(name for name, entry in document.design.models.items() if entry.role == "control"):
        beside = {
            name: _record(for_model(estimand, control), evidence).estimate
            for name, estimand in hypothesis.estimands.items()
            if all(document.design.select(where) for where in filters(for_model(estimand, control)))
        }
        controls |= {control: beside} if beside else {}
    return HypothesisVerdict(
        id=hypothesis.id,
        title=hypothesis.title,
        family=hypothesis.family,
        verdict=verdict.outcome,
        clause=verdict.clause,
        parts=verdict.parts,
        rule=hypothesis.rule,
        estimates=records,
        controls=controls,
        multiplicity=document.analysis.multiplicity,
    )


def for_model(estimand: Estimand, model: str) -> Estimand:
    """The same estimand computed on one model, as for a control."""
    fields = {
        name: value.model_copy(update={"model": (model,)})
        for name, value in vars(estimand).items()
        if isinstance(value, Where)
    }
    return estimand.model_copy(update=fields)


def _record(estimand: Estimand, evidence: Evidence) -> EstimateRecord:
    document = evidence.registration.document
    cells = {cell for where in filters(estimand) for cell in document.design.select(where)}
    used = [cell for cell in document.design.cells if cell in cells]
    missing = [cell for cell in used if cell not in evidence.cells]
    if missing:  # only an exploratory reading comes here
        estimate = Estimate(value=None, low=None, high=None, n=0, method="none", note=f"{len(missing)} cells missing")
    else:
        analysis = document.analysis
        how = Resampling(
            level=analysis.confidence_level, resamples=analysis.bootstrap_resamples, seed=analysis.bootstrap_seed
        )
        strict = analysis.missing_data == "not-evaluable"
        estimate = compute(estimand, evidence.table, document.design, how, strict=strict)
    shards = tuple(evidence.cells[cell].manifest.shard_digest for cell in used if cell in evidence.cells)
    return EstimateRecord(estimand=estimand, estimate=estimate, shards=shards)


def compute(estimand: Estimand, table: Table, design: VideoDesign, how: Resampling, *, strict: bool) -> Estimate:
    """Compute one estimand.

    Args:
        strict: an undefined clip value makes the estimate undefined; else the clip is left out where it is.
    """
    chosen = [design.select(where) for where in filters(estimand)]
    parts = [table.take(estimand.metric, cells) for cells in chosen]
    holes = sum(int((np.isnan(values) & present).sum()) for values, present in parts)
    if strict and holes:
        note = f"{estimand.metric} is undefined for {holes} clip values"
        return Estimate(value=None, low=None, high=None, n=0, method=estimand.statistic, note=note)
    estimate = _statistic(estimand, [values for values, _ in parts], _strengths(design, estimand), how)
    return estimate.model_copy(update={"note": f"{holes} undefined clip values left out"}) if holes else estimate


def _statistic(estimand: Estimand, values: list[Floats], strengths: list[float], how: Resampling) -> Estimate:
    # Clips without any value in these cells (those of other data sets) are no observations of the estimand.
    seen = [np.isfinite(part).any(axis=1) for part in values]
    rows: NDArray[np.bool_] = np.logical_and.reduce(seen)
    kept = [part[rows] for part in values]
    if isinstance(estimand, Mean):
        return bootstrap_mean(kept[0], how)
    if isinstance(estimand, RatioOfMeans):
        return ratio_of_means(kept[0], kept[1], how)
    if isinstance(estimand, Trend):
        return trend(kept[0], strengths, how)
    if isinstance(estimand, Maximum):
        return maximum(kept[0])
    raise TypeError(f"no such statistic: {estimand!r}")


def _strengths(design: VideoDesign, estimand: Estimand) -> list[float]:
    return [cell.strength or 0.0 for cell in design.select(filters(estimand)[0])]
