"""Band: an interval between two numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from vjepa_stress.fields import Finite
from vjepa_stress.rules.base import Decision, LeafRule, Numbers
from vjepa_stress.statistics.numerics.estimate import Estimate


class Band(LeafRule):
    """Interval inside [low, high]: confirmed; interval and band disjoint: refuted; otherwise ambiguous."""

    two_sided: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "the interval of {estimand} is inside [{low}, {high}]",
        "refuted": "the interval of {estimand} is outside [{low}, {high}]",
        "ambiguous": "the interval of {estimand} crosses a border of [{low}, {high}]",
        "condition": "interval inside [{low}, {high}], {refuted} when outside",
    }

    kind: Literal["band"]
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: no estimate could be confirmed")
        return self

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare the interval with the band."""
        return Decision(self.low <= low and high <= self.high, high < self.low or low > self.high)

    def borders(self) -> tuple[float, ...]:
        """Both ends of the band."""
        return self.low, self.high

    def border(self, confirming: bool, truth: float) -> float:  # noqa: ARG002
        """The end that is nearest to the truth, for both."""
        return min(self.borders(), key=lambda end: abs(end - truth))

    def numbers(self) -> Numbers:
        """Both ends of the band."""
        return {"low": self.low, "high": self.high}
