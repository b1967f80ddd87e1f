"""The preregistration: every field of the frozen document, and what must hold between fields.

A frozen file is its canonical bytes; `vjepa_stress.prereg.freeze` writes and loads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.design import AnyDesign, Design
from vjepa_stress.digest import Digest
from vjepa_stress.fields import DataStatus, Frozen, Name, Reason, Seed, Text, Time, Version
from vjepa_stress.prereg.scenarios import Given, OperatingCharacteristics, Plan
from vjepa_stress.rules import AnyRule, Rule
from vjepa_stress.statistics import Estimand
from vjepa_stress.study_root import STUDY_NAME

Warned = Literal["moved-positions", "too-few-clips"]
"""Warnings that a draft must acknowledge with a reason before it can be registered."""

CALIBRATION = "calibration"
"""Hypotheses of this family are gates: when one is not confirmed, no other hypothesis is evaluated."""


DEEPEST_RULE = 6
"""Levels of rules within rules; checking a rule against the JSON Schema takes three times as long for each."""


class Hypothesis(Frozen):
    """A claim, the numbers that stand for it, and the rule that decides it."""

    id: Name
    title: Text
    claim: Text
    rationale: Text
    estimands: dict[Name, Estimand] = Field(min_length=1)
    rule: AnyRule
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
        return self.rule.remaining(self.withdrawn) if self.status == "active" else None

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
        if self.rule.depth() > DEEPEST_RULE:
            found = f"the rule of {self.id} has {self.rule.depth()} levels: write it with {DEEPEST_RULE} or fewer"
            raise ValueError(found)
        return self

    @model_validator(mode="after")
    def _rule_reads_estimands(self) -> Self:
        used = {leaf.estimand for leaf in self.rule.leaves()}
        for name in sorted(used - set(self.estimands)):
            raise ValueError(f"the rule reads {name!r}, which is no estimand of {self.id}: {sorted(self.estimands)}")
        for leaf in self.rule.leaves():
            estimand = self.estimands[leaf.estimand]
            if leaf.reads != estimand.reads:
                raise ValueError(
                    f"{leaf.kind} reads a {leaf.reads}, and {self.id}.{leaf.estimand} ({estimand.statistic}) is a "
                    f"{estimand.reads}"
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

    schema_: Literal["vjepa-stress/prereg/v2"] = Field(alias="schema")
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
    design: AnyDesign
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
                raise ValueError(f"duplicate hypothesis id {name!r}")
        for hypothesis, name, estimand in self.estimands():
            # What is withdrawn stays as it was defined; an amended design need not keep its cells.
            if hypothesis.status != "withdrawn" and name not in hypothesis.withdrawn:
                estimand.check(self.design, f"{hypothesis.id}.{name}")
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
            (hypothesis.id, name) for hypothesis, name, estimand in self.estimands() if estimand.interval == "fisher"
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


def fits(design: Design, estimand: Estimand) -> bool:
    """Whether the design has all that an estimand reads; what is withdrawn may have lost it."""
    try:
        estimand.check(design, "")
    except ValueError:
        return False
    return True


def check_scenarios(design: Design, plan: Plan) -> None:
    """Refuse scenarios about what the design does not have.

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
            numeric = [factor.name for factor in design.factors if factor.numeric]
            for effect in scenario.effects:
                if effect.along is not None and effect.along not in numeric:
                    raise ValueError(f"scenario {name}: no numeric factor {effect.along!r}, only {numeric}")
                design.check_filter(effect.where, f"scenario {name}")
