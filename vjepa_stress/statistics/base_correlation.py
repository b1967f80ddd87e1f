"""Base class of the correlations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

from pydantic import model_validator

from vjepa_stress.design.base import Design
from vjepa_stress.design.cell import Where
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import Defect, Span, Statistic


class Correlation(Statistic):
    """A correlation of two metrics over the pairs of a filter."""

    words: ClassVar[Mapping[str, str]] = {
        "same-number": "{x} and {y} are equal when content does not move: their correlation is always 1"
    }

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

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """The range of a correlation."""
        return -1.0, 1.0

    def defects(self, design: Design) -> Iterator[Defect]:
        """Two columns that always hold the same number."""
        if design.same_number(self.x, self.y, design.select(self.where)):
            yield Defect("same-number", {"x": self.x, "y": self.y})
