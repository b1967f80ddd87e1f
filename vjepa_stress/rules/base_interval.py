"""Base class of the rules that compare an interval with two borders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from vjepa_stress.rules.base import Decision, LeafRule
from vjepa_stress.statistics.numerics.estimate import Estimate


class BetweenBorders(LeafRule):
    """Interval between both borders: confirmed; interval disjoint from them: refuted; otherwise ambiguous."""

    two_sided: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "the interval of {estimand} is inside [{low}, {high}]",
        "refuted": "the interval of {estimand} is outside [{low}, {high}]",
        "ambiguous": "the interval of {estimand} crosses a border of [{low}, {high}]",
        "condition": "interval inside [{low}, {high}], {refuted} when outside",
    }

    @abstractmethod
    def borders(self) -> tuple[float, float]:
        """The lower border and the upper one."""

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare the interval with both borders."""
        bottom, top = self.borders()
        return Decision(bottom <= low and high <= top, high < bottom or low > top)

    def border(self, confirming: bool, truth: float) -> float:  # noqa: ARG002
        """The border that is nearest to the truth, for both."""
        return min(self.borders(), key=lambda end: abs(end - truth))
