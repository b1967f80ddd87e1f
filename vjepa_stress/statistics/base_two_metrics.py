"""Base class of the statistics of two metrics over the pairs of a filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Where
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import Defect, Statistic


class TwoMetrics(Statistic):
    """A statistic of two metrics over the pairs of a filter.

    Its words have a text for `same-number`.
    """

    x: Name
    y: Name
    where: Where

    @model_validator(mode="after")
    def _two_metrics(self) -> Self:
        if self.x == self.y:
            raise ValueError(f"x and y are both {self.x}: use two different metrics")
        return self

    def columns(self) -> tuple[Name, ...]:
        """Both metrics."""
        return self.x, self.y

    def defects(self, design: Design) -> Iterator[Defect]:
        """Two columns that always hold the same number."""
        if design.same_number(self.x, self.y, design.select(self.where)):
            yield Defect("same-number", {"x": self.x, "y": self.y})
