"""Base class of the pooled correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from vjepa_stress.design.base import Design
from vjepa_stress.statistics.base import Span, Statistic
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.within_cell import WithinCell


class Correlation(TwoMetrics):
    """A correlation of two metrics over the pairs of a filter, with all cells pooled."""

    words: ClassVar[Mapping[str, str]] = {
        "same-number": "{x} and {y} are equal when content does not move: their correlation is always 1"
    }

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """The range of a correlation."""
        return -1.0, 1.0

    def companion(self, design: Design) -> Statistic | None:
        """The correlation within cells, if several cells are pooled."""
        if len(design.select(self.where)) < 2:
            return None
        return WithinCell(statistic="within_cell", x=self.x, y=self.y, where=self.where)
