"""The preregistration: every field of the frozen document, and what must hold between fields.

A frozen file is its canonical bytes; `vjepa_stress.prereg.freeze` writes and loads it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.blocks import COUNTS, Compares, Correspondence, Family, ModelRole, PerturbationRole
from vjepa_stress.digest import Digest, digest_of
from vjepa_stress.fields import Frozen, Name, Seed, Text, Time, Version
from vjepa_stress.prereg.rules import (
    Difference,
    Estimand,
    Jumps,
    Monotone,
    Pearson,
    RatioOfMeans,
    Rule,
    Strength,
    Where,
    depth,
    filters,
    leaves,
    metrics,
    remaining,
)
from vjepa_stress.prereg.scenarios import Given, OperatingCharacteristics, Plan
from vjepa_stress.study_root import STUDY_NAME

Frames = Annotated[int, Field(ge=2, le=1024, description="frames a clip")]
Resolution = Annotated[int, Field(ge=32, le=4096, description="pixels a side")]

Warned = Literal["moved-positions", "too-few-clips"]
"""Warnings that a draft must acknowledge with a reason before it can be registered."""

DataStatus = Literal["before-creation", "before-observation", "before-access", "before-analysis", "after-analysis"]
"""What the authors could have known of the data, earliest first."""

Reason = Literal[
    "unforeseen-event", "error-in-registration", "missing-information", "violated-assumption", "falsified-auxiliary"
]
"""Why a registration is amended."""

CALIBRATION = "calibration"
"""Hypotheses of this family are gates: when one is not confirmed, no other hypothesis is evaluated."""


DEEPEST_RULE = 6
"""Levels of rules within rules; checking a rule against the JSON Schema takes three times as long for each."""


class Cell(Frozen):
    """One cell of a design. Probes have no strength."""

    dataset: Name
    model: Name
    perturbation: Name
    strength: Strength | None

    def order(self) -> tuple[str, str, str, float]:
        """Sort key: probes before strengths."""
        return (self.dataset, self.model, self.perturbation, self.strength or 0.0)

    def __str__(self) -> str:
        strength = "" if self.strength is None else f" at {self.strength:g}"
        return f"{self.dataset} · {self.model} · {self.perturbation}{strength}"


class BuildingBlock(Frozen):
    """A named building block: its whole specification, and the digest of it."""

    spec: dict[str, Any]
    spec_digest: Digest

    @model_validator(mode="after")
    def _digest_holds(self) -> Self:
        if digest_of(self.spec) != self.spec_digest:
            raise ValueError(f"spec_digest is {self.spec_digest}, but the spec beside it has {digest_of(self.spec)}")
        return self


class DatasetEntry(BuildingBlock):
    """A data set. A null clip manifest is pinned by the first launch."""

    clip_manifest_digest: Digest | None
    n_clips: int = Field(ge=1)


class ModelEntry(BuildingBlock):
    """A model. A null weights digest is pinned by the first launch. Larger `size_rank` means larger model."""

    weights_digest: Digest | None
    size_rank: int = Field(ge=0)
    role: ModelRole
    untrained: bool


class PerturbationEntry(BuildingBlock):
    """A perturbation, with what judging must know of it."""

    role: PerturbationRole
    family: Family
    correspondence: Correspondence


class MetricEntry(BuildingBlock):
    """A metric, with its range, what it compares and the shard columns it fills (the raw metric first)."""

    range: tuple[float, float]
    compares: Compares
    columns: tuple[Name, ...] = Field(min_length=1)


class Numerics(Frozen):
    """How the encoder computes; both change bits, so both are registered."""

    dtype: Literal["float32", "bfloat16"]
    compile: bool


class VideoDesign(Frozen):
    """The exact set of cells, and everything that could change a number in them."""

    kind: Literal["video"]
    datasets: dict[Name, DatasetEntry] = Field(min_length=1)
    models: dict[Name, ModelEntry] = Field(min_length=1)
    perturbations: dict[Name, PerturbationEntry] = Field(min_length=1)
    metrics: dict[Name, MetricEntry] = Field(min_length=1)
    cells: tuple[Cell, ...] = Field(min_length=1)
    seed: Seed
    frames: Frames
    resolution: Resolution
    numerics: Numerics

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        keys = [cell.order() for cell in self.cells]
        if keys != sorted(set(keys)):
            raise ValueError("cells must be sorted by data set, model, perturbation and strength, each once")
        for cell in self.cells:
            for kind, name, known in (
                ("data set", cell.dataset, self.datasets),
                ("model", cell.model, self.models),
                ("perturbation", cell.perturbation, self.perturbations),
            ):
                if name not in known:
                    raise ValueError(f"cell {cell}: no {kind} {name!r} in the design, only {sorted(known)}")
            probe = self.perturbations[cell.perturbation].role == "probe"
            if probe != (cell.strength is None):
                raise ValueError(f"cell {cell}: probes have no strength, all others need one")
        return self

    @property
    def columns(self) -> dict[str, MetricEntry]:
        """Which metric each shard column belongs to."""
        return {column: entry for entry in self.metrics.values() for column in entry.columns}

    @property
    def shard_columns(self) -> frozenset[str]:
        """Every column that a shard has."""
        counts = {f"{column}_{count}" for column in self.columns for count in COUNTS}
        return frozenset({"clip", "non_finite", *self.columns, *counts})

    def select(self, where: Where) -> tuple[Cell, ...]:
        """Cells of a filter, in the design's order; models left open are all subjects."""

        def admits(wanted: Iterable[Any] | None, value: object) -> bool:
            return wanted is None or value in wanted

        subjects = tuple(name for name, entry in self.models.items() if entry.role == "subject")
        models = where.model if where.model is not None else subjects
        return tuple(
            cell
            for cell in self.cells
            if cell.model in models
            and admits(where.dataset, cell.dataset)
            and admits(where.perturbation, cell.perturbation)
            and admits(where.strength, cell.strength)
        )


class Hypothesis(Frozen):
    """A claim, the numbers that stand for it, and the rule that decides it."""

    id: Name
    title: Text
    claim: Text
    rationale: Text
    estimands: dict[Name, Estimand] = Field(min_length=1)
    rule: Rule
    family: Name
    prediction: Text
    status: Literal["active", "withdrawn"]
    # Left out of files where nothing was withdrawn, so that older files stay what they are.
    withdrawn: tuple[Name, ...] = Field(
        default=(), exclude_if=lambda names: not names, description="estimands that the rule no longer reads"
    )

    @property
    def rest(self) -> Rule | None:
        """The part of the rule that decides; None when all of it is withdrawn."""
        return remaining(self.rule, self.withdrawn) if self.status == "active" else None

    @property
    def judged(self) -> Self | None:
        """The hypothesis without what was withdrawn of it; None when nothing is left."""
        kept = {name: one for name, one in self.estimands.items() if name not in self.withdrawn}
        return self.model_copy(update={"rule": self.rest, "estimands": kept}) if self.rest else None

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        for name in self.withdrawn:
            if name not in self.estimands or self.withdrawn.count(name) > 1:
                raise ValueError(f"withdrawn: {name!r} must be an estimand of {self.id}, named once")
        if self.status == "active" and self.rest is None:
            raise ValueError(f"without {', '.join(self.withdrawn)} nothing of {self.id} is left: withdraw all of it")
        return self

    @model_validator(mode="after")
    def _rule_is_shallow(self) -> Self:
        if depth(self.rule) > DEEPEST_RULE:
            found = f"the rule of {self.id} has {depth(self.rule)} levels: write it with {DEEPEST_RULE} or fewer"
            raise ValueError(found)
        return self

    @model_validator(mode="after")
    def _rule_reads_estimands(self) -> Self:
        used = {leaf.estimand for leaf in leaves(self.rule)}
        for name in sorted(used - set(self.estimands)):
            raise ValueError(f"the rule reads {name!r}, which is no estimand of {self.id}: {sorted(self.estimands)}")
        for leaf in leaves(self.rule):
            if isinstance(leaf, Monotone) != isinstance(self.estimands[leaf.estimand], Jumps):
                raise ValueError(
                    f"{leaf.kind} reads {leaf.estimand!r} of {self.id}: monotone rules read jumps, and no others do"
                )
        for name in sorted(set(self.estimands) - used):
            raise ValueError(f"the estimand {name!r} of {self.id} decides nothing: the rule never reads it")
        return self


class ExcludedClip(Frozen):
    """A clip left out of every estimate, for a reason known before the data."""

    clip: Digest
    reason: Text


class Analysis(Frozen):
    """How estimates are computed."""

    confidence_level: float = Field(gt=0.5, lt=1, allow_inf_nan=False)
    bootstrap_resamples: int = Field(ge=1000, le=1_000_000)
    bootstrap_seed: Seed
    multiplicity: Literal["none", "bonferroni"]
    exclusions: tuple[ExcludedClip, ...]
    missing_data: Literal["not-evaluable", "available-clips"] = Field(
        description="what an undefined clip value does: makes the estimate undefined, or leaves the clip out"
    )
    stopping: Literal["fixed"]


class ClusterCheck(Frozen):
    """A correlation with a Fisher interval, once more with whole clips resampled; it decides nothing."""

    kind: Literal["cluster"]
    hypothesis: Name
    estimand: Name


Sensitivity = ClusterCheck
"""An analysis promised beside the registered one."""


class Acknowledged(Frozen):
    """A warning of `check` that the authors know of, and why they register all the same."""

    warning: Warned
    hypothesis: Name
    estimand: Name
    reason: Text


class Amendment(Frozen):
    """What an amendment says of itself."""

    changes: Text = Field(description="what changes, in the authors' words; the list of changes is generated")
    reason: Reason
    severity: Text = Field(description="effect on how severely the claims are tested")
    validity: Text = Field(description="effect on what can be concluded from them")


class Preregistration(Frozen):
    """The frozen document."""

    schema_: Literal["vjepa-stress/prereg/v1"] = Field(alias="schema")
    study: str = Field(pattern=STUDY_NAME)
    version: Version
    title: Text
    authors: tuple[Text, ...] = Field(min_length=1)
    created: Time
    data_status: DataStatus
    notes: Text | None = Field(
        default=None, exclude_if=lambda notes: notes is None, description="words for readers; nothing reads them"
    )
    parent: Digest | None = Field(description="digest of the document that this one amends")
    amendment: Amendment | None = Field(default=None, exclude_if=lambda amendment: amendment is None)
    design: VideoDesign
    hypotheses: tuple[Hypothesis, ...] = Field(min_length=1)
    analysis: Analysis
    sensitivity: tuple[Sensitivity, ...] = ()
    # Left out of files where there is nothing to acknowledge: what was frozen before it existed stays what it is.
    acknowledged: tuple[Acknowledged, ...] = Field(default=(), exclude_if=lambda warnings: not warnings)
    operating_characteristics: OperatingCharacteristics | None = None

    @model_validator(mode="after")
    def _amends_or_begins(self) -> Self:
        if (self.parent is None) != (self.amendment is None):
            raise ValueError("a document with a parent says in `amendment` what changes and why, and no other does")
        if self.parent is None and any(h.status == "withdrawn" or h.withdrawn for h in self.hypotheses):
            raise ValueError("only an amendment can withdraw what was registered before")
        return self

    @model_validator(mode="after")
    def _estimands_fit(self) -> Self:
        ids = [hypothesis.id for hypothesis in self.hypotheses]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"the hypothesis id {name!r} stands twice")
        for hypothesis, name, estimand in self.estimands():
            # What is withdrawn stays as it was defined; an amended design need not keep its cells.
            if hypothesis.status != "withdrawn" and name not in hypothesis.withdrawn:
                check_fits(self.design, estimand, f"{hypothesis.id}.{name}")
        return self

    @model_validator(mode="after")
    def _acknowledged_exist(self) -> Self:
        known = {(hypothesis.id, name) for hypothesis, name, _ in self.estimands()}
        for one in self.acknowledged:
            if (one.hypothesis, one.estimand) not in known:
                raise ValueError(f"acknowledged: there is no estimand {one.hypothesis}.{one.estimand}")
        return self

    @model_validator(mode="after")
    def _sensitivity_fits(self) -> Self:
        correlations = {
            (hypothesis.id, name)
            for hypothesis, name, estimand in self.estimands()
            if isinstance(estimand, Pearson) and estimand.interval == "fisher"
        }
        for promised in self.sensitivity:
            if (promised.hypothesis, promised.estimand) not in correlations:
                raise ValueError(
                    f"sensitivity: {promised.hypothesis}.{promised.estimand} is no correlation with a Fisher interval"
                )
        return self

    @model_validator(mode="after")
    def _scenarios_fit(self) -> Self:
        if self.operating_characteristics is None:
            return self
        check_scenarios(self.design, self.operating_characteristics)
        known = {hypothesis.id for hypothesis in self.hypotheses}
        for scenario, chances in self.operating_characteristics.chances.items():
            for name in sorted(set(chances) - known):
                raise ValueError(f"scenario {scenario}: there is no hypothesis {name!r}")
        return self

    def estimands(self) -> Iterator[tuple[Hypothesis, str, Estimand]]:
        """All estimands, with the hypothesis and name they have."""
        for hypothesis in self.hypotheses:
            for name, estimand in hypothesis.estimands.items():
                yield hypothesis, name, estimand


def meaning(design: VideoDesign, estimand: Estimand) -> Hashable:
    """What an estimand computes, however its filters say it: equal for two that are always the same number."""
    selected = tuple((design.select(where), frozenset(where.rows or ())) for where in filters(estimand))
    return estimand.statistic, estimand.interval, tuple(sorted(metrics(estimand))), selected


def check_fits(design: VideoDesign, estimand: Estimand, where: str) -> None:
    """Refuse an estimand that the design does not have the metrics or cells for.

    Raises:
        ValueError: saying what is not there.
    """
    for metric in metrics(estimand):
        if metric not in design.columns:
            raise ValueError(f"{where}: no metric {metric!r} in the design, only {sorted(design.columns)}")
    for chosen in filters(estimand):
        _check_filter(design, chosen, where)
    _check_comparison(design, estimand, where)


def fits(design: VideoDesign, estimand: Estimand) -> bool:
    """Whether the design has all that an estimand reads; what is withdrawn may have lost it."""
    try:
        check_fits(design, estimand, "")
    except ValueError:
        return False
    return True


def check_scenarios(design: VideoDesign, plan: Plan) -> None:
    """Refuse scenarios that speak of what the design does not have.

    Raises:
        ValueError: naming the scenario.
    """
    for name, scenario in plan.scenarios.items():
        if isinstance(scenario, Given):
            named = {effect.metric for effect in scenario.effects} | set(scenario.within_clip)
            named |= {metric for pair in scenario.associations for metric in (pair.x, pair.y)}
            for metric in sorted(named - set(design.columns)):
                raise ValueError(
                    f"scenario {name}: no metric {metric!r} in the design, only {sorted(design.columns)}"
                )
            for effect in scenario.effects:
                _check_filter(design, effect.where, f"scenario {name}")


def _check_filter(design: VideoDesign, chosen: Where, where: str) -> None:
    cells = design.select(chosen)
    if not cells:
        raise ValueError(f"{where}: its filter selects no cell of the design")
    # A name that selects nothing is a typing error, even where another name beside it selects something.
    for field in ("dataset", "model", "perturbation", "strength"):
        for wanted in getattr(chosen, field) or ():
            if not any(getattr(cell, field) == wanted for cell in cells):
                raise ValueError(f"{where}: {field} {wanted!r} selects no cell of the design")
    for condition in chosen.rows or ():
        if condition.column not in design.shard_columns:
            known = sorted(design.shard_columns)
            raise ValueError(f"{where}: no shard has a column {condition.column!r}, only {known}")
        if isinstance(condition.equals, str) != (condition.column == "clip"):
            raise ValueError(f"{where}: `clip` equals a digest, and no other column a text")


def _check_comparison(design: VideoDesign, estimand: Estimand, where: str) -> None:
    """What is compared must differ, and in nothing but what the comparison is about."""
    if isinstance(estimand, Difference | RatioOfMeans):
        one, other = filters(estimand)
        if one.rows == other.rows and design.select(one) == design.select(other):
            always = "difference is 0" if isinstance(estimand, Difference) else "ratio is 1"
            raise ValueError(f"{where}: both filters select the same cells, whose {always}")
    elif isinstance(estimand, Jumps):
        seen = {
            name: tuple((c.dataset, c.perturbation, c.strength) for c in design.select(chosen))
            for name, chosen in zip(estimand.models, filters(estimand), strict=True)
        }
        for name in estimand.models[1:]:
            if seen[name] != seen[estimand.models[0]]:
                raise ValueError(f"{where}: {estimand.models[0]} and {name} do not have the same cells")
