"""Alternatives of a sensitivity analysis: changes of the registered analysis under which a rule is applied again."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.design import Where
from vjepa_stress.fields import Frozen, Name, Seed

RESAMPLES, LEAST_RESAMPLES = 200_000, 1000
"""Resamples for a rule without each source in turn: for all sources together, and at least for each."""


class Alternative(Frozen):
    """A named change of the analysis. It decides nothing.

    Attributes:
        name: its name, unique in a document.
        hypothesis: the hypothesis that it concerns; None for all.
        interval: another interval, where the statistic has it.
        level: another confidence level.
        where: levels by factor, to which every filter is restricted.
        leave_one_source_out: apply the rule without each source in turn, with `RESAMPLES` resamples for all sources
            together, but at least `LEAST_RESAMPLES` and at most the registered number for each.
        seed: another seed of the bootstrap.
        statistic: another statistic with the same fields.
    """

    name: Name
    hypothesis: Name | None = Field(default=None, exclude_if=lambda one: one is None)
    interval: Literal["expanded", "jackknife", "percentile", "bca", "fisher", "betting"] | None = Field(
        default=None, exclude_if=lambda one: one is None
    )
    level: float | None = Field(default=None, gt=0.5, lt=1, exclude_if=lambda one: one is None)
    where: Where | None = Field(default=None, exclude_if=lambda one: one is None)
    leave_one_source_out: bool = Field(default=False, exclude_if=lambda one: not one)
    seed: Seed | None = Field(default=None, exclude_if=lambda one: one is None)
    statistic: Name | None = Field(default=None, exclude_if=lambda one: one is None)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not (self.model_fields_set - {"name", "hypothesis"}):
            raise ValueError(f"the alternative {self.name} changes nothing")
        if self.where is not None and self.where.rows:
            raise ValueError(f"the alternative {self.name} filters rows: `where` names levels of factors only")
        return self
