"""Data models of scenarios, and of the chance of each verdict in them.

`vjepa_stress.verdict.power` computes the chances.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from vjepa_stress.design.cell import Where
from vjepa_stress.digest import LARGEST_INTEGER, Digest
from vjepa_stress.fields import Finite, Frozen, Name

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Verdict = Literal["confirmed", "ambiguous", "refuted"]

World = Literal["null", "shuffled", "noise", "dose"]
"""Worlds that need no author.

`null`: all cells alike, with the averages of the scenario in which the hypothesis is expected to be confirmed.
`shuffled`: that scenario, with the cells of each unit permuted and the units of each metric permuted.
`noise`: every value uniform over the range of its metric. `dose`: every value follows the numeric factor only.
"""
WORLDS: tuple[World, ...] = get_args(World)

FEWEST = {"studies": 2000, "null_studies": 400, "curve_studies": 100}
"""Fewer simulated studies give a warning: their Monte-Carlo error hides false verdicts."""

SOURCE = "source"
"""Key of the correlation between two units of one source in `Given.dependence`."""
Prose = Annotated[str, Field(min_length=1)]


class Effect(Frozen):
    """Distribution of a metric over the clips of some cells.

    The mean at level s of the numeric factor `along` is `mean` + s · `slope`, and `mean` in cells without a level.
    Values have a beta distribution over the range of the metric. A filter must name controls to select them.
    """

    metric: Name
    where: Where
    mean: Finite
    slope: Finite = 0.0
    along: Name | None = Field(default=None, description="numeric factor of the slope")
    sd: Finite = Field(ge=0)

    @model_validator(mode="after")
    def _of_whole_cells(self) -> Self:
        if self.where.rows is not None:
            raise ValueError("an effect applies to whole cells: remove `rows` from its filter")
        if self.slope != 0 and self.along is None:
            raise ValueError("a slope needs `along`, the numeric factor of the slope")
        return self


class Association(Frozen):
    """Association of two metrics of one unit in one cell: the correlation of their normal scores.

    It is `r` if both metrics have the same `dependence`, and nearer to 0 if not.
    """

    x: Name
    y: Name
    r: float = Field(ge=-1, le=1, allow_inf_nan=False)


class _Scenario(Frozen):
    """Fields of all scenarios.

    Attributes:
        says: description for readers.
        expects: the verdict that each hypothesis should have in this scenario; not every hypothesis needs one.
    """

    says: Prose
    expects: dict[Name, Verdict] = Field(default={})


class Given(_Scenario):
    """A scenario that the authors specify.

    Attributes:
        effects: if several apply to the same metric and cell, the last one is used.
        dependence: metric → factor → number from 0 to 1. The correlation of the normal scores of one unit in two
            cells is the product of the numbers of all factors in which the cells differ. The number of `source` is
            the correlation of the normal scores of two units of one source in one cell.
        associations: metrics without an association are independent, given the cell.
    """

    kind: Literal["given"]
    effects: tuple[Effect, ...] = Field(min_length=1)
    dependence: dict[Name, dict[Name, Share]]
    associations: tuple[Association, ...] = ()


class Pilot(_Scenario):
    """A scenario from the shards of another study. Whole units are drawn with replacement."""

    kind: Literal["pilot"]
    study: Prose
    document: Digest
    attempt: int = Field(ge=1)


Scenario = Annotated[Given | Pilot, Field(discriminator="kind")]


class Plan(Frozen):
    """Settings of the simulation.

    Attributes:
        studies: number of simulated studies per scenario.
        null_studies: number of simulated studies in each world that needs no author.
        curve_studies: number of simulated studies for each size of the power curves.
        resamples: bootstrap resamples in each simulated study. All studies share one stream.
        seed: seed of the simulated units. All scenarios share it, so that they differ only by their effects.
        cap: largest chance of a false confirmation, and of a false refutation.
    """

    scenarios: dict[Name, Scenario] = Field(min_length=1)
    studies: int = Field(ge=50, le=1_000_000)
    null_studies: int = Field(default=1000, ge=50, le=1_000_000)
    curve_studies: int = Field(default=300, ge=50, le=1_000_000)
    resamples: int = Field(ge=1000, le=100_000)
    seed: int = Field(ge=0, le=LARGEST_INTEGER)
    cap: float = Field(default=0.05, gt=0, lt=0.5, allow_inf_nan=False)

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in sorted(set(WORLDS) & set(self.scenarios)):
            raise ValueError(f"the scenario name {name!r} is reserved for a world that needs no author")
        return self

    def expecting(self, verdict: Verdict, hypothesis: str) -> tuple[str, ...]:
        """Names of the scenarios that expect this verdict on a hypothesis."""
        return tuple(name for name, one in self.scenarios.items() if one.expects.get(hypothesis) == verdict)

    def claimed(self, hypothesis: str) -> str | None:
        """The first scenario that expects the hypothesis to be confirmed."""
        return next(iter(self.expecting("confirmed", hypothesis)), None)


class Chance(Frozen):
    """A share of the simulated studies, with its 95 % Wilson interval for Monte-Carlo error."""

    p: Share
    low: Share
    high: Share


class Chances(Frozen):
    """The chance of each verdict on one hypothesis."""

    confirmed: Chance
    ambiguous: Chance
    refuted: Chance
    not_evaluable: Chance


class Size(Frozen):
    """A point of a power curve.

    Attributes:
        units, sources: number of units and of sources in each stratum.
        confirmed: chance of confirmation in the scenario that expects it.
    """

    units: dict[str, int]
    sources: dict[str, int]
    confirmed: Chance


class Severity(Frozen):
    """Chances in the scenario that expects confirmation, with every estimate moved so that its truth is at a border.

    Gates count as passed.

    Attributes:
        at_refuting: each part of the rule at its border of refutation.
        at_confirming: each part of the rule at its border of confirmation.
    """

    at_refuting: Chances
    at_confirming: Chances


class OperatingCharacteristics(Plan):
    """Results of the simulation.

    Attributes:
        chances: scenario, or world that needs no author → hypothesis → chance of each verdict.
        curves: hypothesis → chance of confirmation by size of the study, from the smallest.
        severity: hypothesis → chances at the borders of its rule, over `studies` studies.
    """

    chances: dict[Name, dict[Name, Chances]]
    curves: dict[Name, tuple[Size, ...]] = Field(default={})
    severity: dict[Name, Severity] = Field(default={})

    @model_validator(mode="after")
    def _every_scenario(self) -> Self:
        if set(self.chances) - set(WORLDS) != set(self.scenarios):
            raise ValueError(f"chances for {sorted(self.chances)}, but scenarios {sorted(self.scenarios)}")
        return self

    @property
    def plan(self) -> Plan:
        """The settings without the results."""
        return Plan(**{name: getattr(self, name) for name in Plan.model_fields})
