"""The preregistration document: its fields, and the constraints between them.

A frozen file holds its canonical bytes. `vjepa_stress.prereg.freeze` writes and loads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from vjepa_stress.design import AnyDesign, Design
from vjepa_stress.digest import Digest
from vjepa_stress.fields import DataStatus, Frozen, Name, Reason, Seed, Text, Time, Version
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.prereg.scenarios import SOURCE, Given, OperatingCharacteristics, Plan
from vjepa_stress.rules import AnyRule, Rule
from vjepa_stress.statistics import STATISTICS, Estimand
from vjepa_stress.study_root import STUDY_NAME

Warned = Literal[
    "moved-positions",
    "too-few-clips",
    "mixes-cells",
    "confirmed-by-null",
    "confirmed-by-shuffled",
    "confirmed-by-noise",
    "confirmed-by-dose",
    "few-studies",
]
"""Warnings that a draft must resolve, or acknowledge with a reason, before it can be registered."""

CALIBRATION = "calibration"
"""Hypotheses of this family are gates: if one is not confirmed, no other hypothesis is evaluated."""


DEEPEST_RULE = 6
"""Maximum depth of nested rules. Each level triples the time of the validation against the JSON Schema."""


class Hypothesis(Frozen):
    """A claim, its estimands, and the rule that decides it."""

    id: Name
    title: Text
    claim: Text
    rationale: Text
    estimands: dict[Name, Estimand] = Field(min_length=1)
    rule: AnyRule
    family: Name
    prediction: Text
    status: Literal["active", "withdrawn"]
    # Omitted from files when empty.
    withdrawn: tuple[Name, ...] = Field(
        default=(), exclude_if=lambda names: not names, description="estimands that the rule no longer reads"
    )

    @property
    def rest(self) -> Rule | None:
        """The rule without withdrawn estimands; None when all of it is withdrawn."""
        return self.rule.remaining(self.withdrawn) if self.status == "active" else None

    @property
    def judged(self) -> Self | None:
        """The hypothesis without withdrawn estimands; None when nothing is left."""
        kept = {name: one for name, one in self.estimands.items() if name not in self.withdrawn}
        return self.model_copy(update={"rule": self.rest, "estimands": kept}) if self.rest else None

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        for name in self.withdrawn:
            if name not in self.estimands or self.withdrawn.count(name) > 1:
                raise ValueError(f"withdrawn: {name!r} must be an estimand of {self.id}, listed once")
        if self.status == "active" and self.rest is None:
            raise ValueError(
                f"nothing of {self.id} is left without {', '.join(self.withdrawn)}: withdraw the whole hypothesis"
            )
        return self

    @model_validator(mode="after")
    def _rule_is_shallow(self) -> Self:
        if self.rule.depth() > DEEPEST_RULE:
            raise ValueError(f"the rule of {self.id} has {self.rule.depth()} levels: use at most {DEEPEST_RULE}")
        return self

    @model_validator(mode="after")
    def _numbers_have_a_rationale(self) -> Self:
        for leaf in self.rule.leaves():
            if leaf.rationale is None:
                raise ValueError(
                    f"the {leaf.kind} on {leaf.estimand!r} of {self.id} has no `rationale`: add one that says why "
                    "its numbers have this size"
                )
        return self

    @model_validator(mode="after")
    def _rule_reads_estimands(self) -> Self:
        used = {leaf.estimand for leaf in self.rule.leaves()}
        for name in sorted(used - set(self.estimands)):
            raise ValueError(
                f"the rule reads {name!r}, which is not an estimand of {self.id}: {', '.join(sorted(self.estimands))}"
            )
        for leaf in self.rule.leaves():
            estimand = self.estimands[leaf.estimand]
            if leaf.reads != estimand.yields:
                raise ValueError(
                    f"{leaf.kind} reads a {leaf.reads}, but {self.id}.{leaf.estimand} ({estimand.statistic}, "
                    f"interval {estimand.interval}) is a {estimand.yields}"
                )
        for name in sorted(set(self.estimands) - used):
            raise ValueError(f"the estimand {name!r} of {self.id} is never read by the rule: remove it or use it")
        return self


class ExcludedClip(Frozen):
    """A clip that is excluded from all estimates, for a reason known before the data."""

    clip: Digest
    reason: Text


class Sequential(Frozen):
    """Looks after registered numbers of sources. The first look that confirms or refutes a hypothesis decides it.

    Rules read intervals that hold at all numbers of sources at once, so that looks need no correction.
    """

    kind: Literal["sequential"]
    looks: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        min_length=1,
        description="rising numbers of sources of each data set, in the registered order of sources; the last is the "
        "largest number of sources of a data set that rules read",
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.looks) != sorted(set(self.looks)):
            raise ValueError(f"looks are {', '.join(map(str, self.looks))}: list each once, in rising order")
        return self


def _kind_of_stopping(value: object) -> str:
    return "fixed" if isinstance(value, str) else "sequential"


Stopping = Annotated[
    Annotated[Literal["fixed"], Tag("fixed")] | Annotated[Sequential, Tag("sequential")],
    Discriminator(_kind_of_stopping),
]
"""One look at all sources, or looks after registered numbers of sources."""


class Analysis(Frozen):
    """Settings of the estimates."""

    confidence_level: float = Field(gt=0.5, lt=1, allow_inf_nan=False)
    bootstrap_resamples: int = Field(ge=1000, le=1_000_000)
    bootstrap_seed: Seed
    multiplicity: Literal["none", "bonferroni"]
    within_hypothesis: Literal["adjusted", "none"] = Field(
        description="whether the levels of the leaves of one rule are corrected for the number of its leaves"
    )
    exclusions: tuple[ExcludedClip, ...]
    missing_data: Literal["not-evaluable", "available-clips"] = Field(
        description="an undefined value of a clip makes the estimate undefined, or excludes the clip"
    )
    stopping: Stopping

    @property
    def strict(self) -> bool:
        """Whether an undefined value makes an estimate undefined, instead of being left out."""
        return self.missing_data == "not-evaluable"


class Acknowledged(Frozen):
    """A warning of `check` that the authors acknowledge, and their reason to register nevertheless.

    `estimand` is omitted for warnings about a whole hypothesis, and `hypothesis` for those about the whole study.
    """

    warning: Warned
    hypothesis: Name | None = Field(default=None, exclude_if=lambda name: name is None)
    estimand: Name | None = Field(default=None, exclude_if=lambda name: name is None)
    reason: Text


class Amendment(Frozen):
    """The authors' description of an amendment."""

    changes: Text = Field(description="description of the changes; the list of changes is generated")
    reason: Reason
    severity: Text = Field(description="effect on the severity of the tests")
    validity: Text = Field(description="effect on the validity of the conclusions")


class Preregistration(Frozen):
    """The frozen document."""

    schema_: Literal["vjepa-stress/prereg/v3"] = Field(alias="schema")
    study: str = Field(pattern=STUDY_NAME)
    version: Version
    title: Text
    authors: tuple[Text, ...] = Field(min_length=1)
    created: Time
    data_status: DataStatus
    notes: Text | None = Field(
        default=None, exclude_if=lambda notes: notes is None, description="text for readers; it has no effect"
    )
    parent: Digest | None = Field(description="digest of the document that this document amends")
    amendment: Amendment | None = Field(default=None, exclude_if=lambda amendment: amendment is None)
    design: AnyDesign
    hypotheses: tuple[Hypothesis, ...] = Field(min_length=1)
    analysis: Analysis
    sensitivity: tuple[Alternative, ...] = Field(
        default=(), max_length=20, description="changes of the analysis under which every rule is applied again"
    )
    # Omitted from files when empty.
    acknowledged: tuple[Acknowledged, ...] = Field(default=(), exclude_if=lambda warnings: not warnings)
    operating_characteristics: OperatingCharacteristics | None = None

    @model_validator(mode="after")
    def _amends_or_begins(self) -> Self:
        if (self.parent is None) != (self.amendment is None):
            raise ValueError("a document with a parent needs `amendment`, and a document without a parent has none")
        if self.parent is None and any(h.status == "withdrawn" or h.withdrawn for h in self.hypotheses):
            raise ValueError("only an amendment can withdraw a hypothesis or an estimand")
        return self

    @model_validator(mode="after")
    def _estimands_fit(self) -> Self:
        ids = [hypothesis.id for hypothesis in self.hypotheses]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"duplicate hypothesis id {name!r}")
        for hypothesis, name, estimand in self.estimands():
            # A withdrawn estimand keeps its definition, but an amended design need not have its cells.
            if hypothesis.status != "withdrawn" and name not in hypothesis.withdrawn:
                estimand.check(self.design, f"{hypothesis.id}.{name}")
        return self

    @model_validator(mode="after")
    def _acknowledged_exist(self) -> Self:
        known: dict[str | None, Collection[str | None]] = {one.id: {None, *one.estimands} for one in self.hypotheses}
        known[None] = {None}
        for one in self.acknowledged:
            if one.estimand not in known.get(one.hypothesis, ()):
                name = f"estimand {one.hypothesis}.{one.estimand}" if one.estimand else f"hypothesis {one.hypothesis}"
                raise ValueError(f"acknowledged: unknown {name}")
        return self

    @model_validator(mode="after")
    def _alternatives_fit(self) -> Self:
        ids = [hypothesis.id for hypothesis in self.hypotheses]
        names = [one.name for one in self.sensitivity]
        for one in self.sensitivity:
            path = f"sensitivity: {one.name}"
            if names.count(one.name) > 1:
                raise ValueError(f"{path}: two alternatives have this name")
            for kind, given, known in (
                ("hypothesis", one.hypothesis, ids),
                ("statistic", one.statistic, [*STATISTICS]),
            ):
                if given is not None and given not in known:
                    raise ValueError(f"{path}: unknown {kind} {given!r}; known: {', '.join(known)}")
            if one.where is not None:
                self.design.check_filter(one.where, path)
        return self

    @model_validator(mode="after")
    def _scenarios_fit(self) -> Self:
        if self.operating_characteristics is None:
            return self
        known = {hypothesis.id for hypothesis in self.hypotheses}
        check_scenarios(self.design, known, self.operating_characteristics)
        for scenario, chances in self.operating_characteristics.chances.items():
            for name in sorted(set(chances) - known):
                raise ValueError(f"scenario {scenario}: unknown hypothesis {name!r}")
        return self

    @model_validator(mode="after")
    def _looks_fit(self) -> Self:
        stopping, design = self.analysis.stopping, self.design
        tested = [one for one in (hypothesis.judged for hypothesis in self.hypotheses) if one is not None]
        if isinstance(stopping, Sequential):
            for hypothesis in tested:
                _check_sequential(hypothesis)
            read = [one for hypothesis in tested for one in hypothesis.estimands.values() if one.ordered]
            cells = [cell for one in read for where in one.filters() for cell in design.select(where)]
            most = max(map(design.count_sources, design.strata(cells)), default=0)
            if stopping.looks[-1] != most:
                raise ValueError(
                    f"analysis.stopping: the last look is after {stopping.looks[-1]} sources, but rules read up to "
                    f"{most} of a data set: let the last look be {most}"
                )
        return self

    def estimands(self) -> Iterator[tuple[Hypothesis, str, Estimand]]:
        """All estimands, each with its hypothesis and its name."""
        for hypothesis in self.hypotheses:
            for name, estimand in hypothesis.estimands.items():
                yield hypothesis, name, estimand


def fits(design: Design, estimand: Estimand) -> bool:
    """Whether the design has all cells and columns that an estimand reads. A withdrawn estimand may lack some."""
    try:
        estimand.check(design, "")
    except ValueError:
        return False
    return True


def _check_sequential(hypothesis: Hypothesis) -> None:
    """Refuse a rule of a sequential study that does not hold at every look.

    Gates are read once, after the last look. They can prevent verdicts, but not confirm a claim.

    Raises:
        ValueError: with the estimand.
    """
    for leaf in hypothesis.rule.leaves():
        estimand, is_gate = hypothesis.estimands[leaf.estimand], hypothesis.family == CALIBRATION
        path = f"{hypothesis.id}.{leaf.estimand}"
        if not estimand.ordered and (estimand.sampled or not is_gate):
            raise ValueError(
                f"{path}: a sequential study needs intervals that hold at every look, found {estimand.statistic}, "
                f"interval {estimand.interval}: use a mean or a difference with `interval: betting`, or "
                "`stopping: fixed`"
            )
        if not leaf.reads_interval and not is_gate:
            raise ValueError(
                f"{path}: {leaf.kind} reads only the value, which passes a number by chance if it is looked at often "
                "enough: use `use: interval`, or `stopping: fixed`"
            )


def check_scenarios(design: Design, hypotheses: Collection[str], plan: Plan) -> None:
    """Refuse scenarios that name metrics, factors, cells or hypotheses that do not exist.

    Raises:
        ValueError: with the name of the scenario.
    """
    factors = {*design.factor_names, SOURCE}
    for name, scenario in plan.scenarios.items():
        for unknown in sorted(set(scenario.expects) - set(hypotheses)):
            raise ValueError(f"scenario {name}: `expects` names the unknown hypothesis {unknown!r}")
        if isinstance(scenario, Given):
            named = {effect.metric for effect in scenario.effects} | set(scenario.dependence)
            named |= {metric for pair in scenario.associations for metric in (pair.x, pair.y)}
            for metric in sorted(named):
                design.check_column(metric, f"scenario {name}")
            for metric, numbers in scenario.dependence.items():
                for unknown in sorted(set(numbers) - factors):
                    raise ValueError(
                        f"scenario {name}: unknown factor {unknown!r} in the dependence of {metric}; "
                        f"known: {', '.join(sorted(factors))}"
                    )
            for effect in scenario.effects:
                if effect.along is not None:
                    design.check_numeric(effect.along, f"scenario {name}")
                design.check_filter(effect.where, f"scenario {name}")
