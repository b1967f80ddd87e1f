"""Scenarios as data: what the world could be like, and how often each verdict would then be given.

Nothing here computes; `vjepa_stress.verdict.power` does.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.design.cell import Where
from vjepa_stress.digest import LARGEST_INTEGER, Digest
from vjepa_stress.fields import Finite, Frozen, Name

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Prose = Annotated[str, Field(min_length=1)]


class Effect(Frozen):
    """What a metric is like in some cells: over clips, its mean and standard deviation.

    The mean at level s of the numeric factor `along` is `mean` + s · `slope`, and `mean` in cells without a level.
    Values follow a beta distribution over the metric's range, which has any mean and spread that the range allows.
    Controls are named, as in any filter.
    """

    metric: Name
    where: Where
    mean: Finite
    slope: Finite = 0.0
    along: Name | None = Field(default=None, description="numeric factor that the slope is along")
    sd: Finite = Field(ge=0)

    @model_validator(mode="after")
    def _of_whole_cells(self) -> Self:
        if self.where.rows is not None:
            raise ValueError("an effect is one of whole cells: leave `rows` out of its filter")
        if self.slope != 0 and self.along is None:
            raise ValueError("a slope needs `along`, the factor that it is along")
        return self


class Association(Frozen):
    """How two metrics of one clip in one cell go together: correlation of their normal scores.

    It is `r` where both have the same `within_clip`, and √(w₁w₂) + √((1 − w₁)(1 − w₂)) of it where these differ.
    """

    x: Name
    y: Name
    r: float = Field(ge=-1, le=1, allow_inf_nan=False)


class Given(Frozen):
    """A scenario of the authors' own.

    Attributes:
        says: what it stands for.
        effects: where several are about the same metric and cell, the last one holds.
        within_clip: for each metric, how values of one clip in different cells go together: the correlation of their
            normal scores. At 0 the cells of a clip are independent; at 1 they share one rank.
        associations: metrics not paired here are independent, given the cell.
    """

    kind: Literal["given"]
    says: Prose
    effects: tuple[Effect, ...] = Field(min_length=1)
    within_clip: dict[Name, Share]
    associations: tuple[Association, ...] = ()


class Pilot(Frozen):
    """A scenario taken from the shards of another study: its clips, drawn with replacement, whole."""

    kind: Literal["pilot"]
    says: Prose
    study: Prose
    document: Digest
    attempt: int = Field(ge=1)


Scenario = Annotated[Given | Pilot, Field(discriminator="kind")]


class Plan(Frozen):
    """Which studies to simulate.

    Attributes:
        studies: simulated studies a scenario.
        resamples: of each simulated study's bootstraps; a stream that all of them share.
        seed: of the simulated clips; scenarios share it, so that they differ by their effects and not by luck.
    """

    scenarios: dict[Name, Scenario] = Field(min_length=1)
    studies: int = Field(ge=2000, le=1_000_000)
    resamples: int = Field(ge=1000, le=100_000)
    seed: int = Field(ge=0, le=LARGEST_INTEGER)


class Chance(Frozen):
    """A share of the simulated studies, with its Wilson interval at 95 % (Monte-Carlo error)."""

    p: Share
    low: Share
    high: Share


class Chances(Frozen):
    """How often a hypothesis got each verdict."""

    confirmed: Chance
    ambiguous: Chance
    refuted: Chance
    not_evaluable: Chance


class OperatingCharacteristics(Plan):
    """What the rules would say in each scenario: chances by scenario and hypothesis."""

    chances: dict[Name, dict[Name, Chances]]

    @model_validator(mode="after")
    def _every_scenario(self) -> Self:
        if set(self.chances) != set(self.scenarios):
            raise ValueError(f"chances of {sorted(self.chances)}, but scenarios {sorted(self.scenarios)}")
        return self
