"""Data models of scenarios, and of the chance of each verdict in them.

`vjepa_stress.verdict.power` computes the chances.
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
    """Association of two metrics of one clip in one cell: the correlation of their normal scores.

    It is `r` if both metrics have the same `within_clip`. If the values w₁ and w₂ differ, it is
    `r` · (√(w₁w₂) + √((1 − w₁)(1 − w₂))).
    """

    x: Name
    y: Name
    r: float = Field(ge=-1, le=1, allow_inf_nan=False)


class Given(Frozen):
    """A scenario that the authors specify.

    Attributes:
        says: description for readers.
        effects: if several apply to the same metric and cell, the last one is used.
        within_clip: for each metric, the correlation of the normal scores of one clip in different cells. At 0 the
            cells of a clip are independent; at 1 the clip has the same rank in all cells.
        associations: metrics without an association are independent, given the cell.
    """

    kind: Literal["given"]
    says: Prose
    effects: tuple[Effect, ...] = Field(min_length=1)
    within_clip: dict[Name, Share]
    associations: tuple[Association, ...] = ()


class Pilot(Frozen):
    """A scenario from the shards of another study. Whole clips are drawn with replacement."""

    kind: Literal["pilot"]
    says: Prose
    study: Prose
    document: Digest
    attempt: int = Field(ge=1)


Scenario = Annotated[Given | Pilot, Field(discriminator="kind")]


class Plan(Frozen):
    """Settings of the simulation.

    Attributes:
        studies: number of simulated studies per scenario.
        resamples: bootstrap resamples in each simulated study. All studies share one stream.
        seed: seed of the simulated clips. All scenarios share it, so that they differ only by their effects.
    """

    scenarios: dict[Name, Scenario] = Field(min_length=1)
    studies: int = Field(ge=2000, le=1_000_000)
    resamples: int = Field(ge=1000, le=100_000)
    seed: int = Field(ge=0, le=LARGEST_INTEGER)


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


class OperatingCharacteristics(Plan):
    """The chance of each verdict, by scenario and hypothesis."""

    chances: dict[Name, dict[Name, Chances]]

    @model_validator(mode="after")
    def _every_scenario(self) -> Self:
        if set(self.chances) != set(self.scenarios):
            raise ValueError(f"chances for {sorted(self.chances)}, but scenarios {sorted(self.scenarios)}")
        return self
