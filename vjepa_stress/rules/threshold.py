"""Threshold: a value, or a whole interval, at or beyond a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from vjepa_stress.fields import Finite
from vjepa_stress.rules.base import Decision, LeafRule, Numbers
from vjepa_stress.statistics.numerics.estimate import Estimate


class Threshold(LeafRule):
    """At or beyond `confirm_at`: confirmed; short of `refute_at`: refuted; otherwise ambiguous.

    With `use: interval` the whole interval must meet the condition, with `use: point` only the value.
    """

    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "{what} of {estimand} is {beyond} {confirm_at}",
        "refuted": "{what} of {estimand} is {short} {refute_at}",
        "ambiguous": "{what} of {estimand} is neither {beyond} {confirm_at} nor {short} {refute_at}",
        "condition": "{what} {beyond} {confirm_at}, {refuted} {short} {refute_at}",
        "what use=point": "the value",
        "what use=interval": "the whole interval",
        "beyond direction=above": "at or above",
        "short direction=above": "below",
        "beyond direction=below": "at or below",
        "short direction=below": "above",
    }

    kind: Literal["threshold"]
    direction: Literal["above", "below"]
    confirm_at: Finite
    refute_at: Finite
    use: Literal["point", "interval"]

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        above = self.direction == "above"
        if self.refute_at > self.confirm_at if above else self.refute_at < self.confirm_at:
            raise ValueError(
                f"the regions of confirmation ({self.confirm_at} or {self.direction}) and refutation (short of "
                f"{self.refute_at}) overlap"
            )
        return self

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare the interval, or the value, with both thresholds."""
        if self.use == "point":
            low = high = value
        if self.direction == "above":
            return Decision(low >= self.confirm_at, high < self.refute_at)
        return Decision(high <= self.confirm_at, low > self.refute_at)

    def borders(self) -> tuple[float, ...]:
        """Both thresholds."""
        return self.confirm_at, self.refute_at

    def border(self, confirming: bool, truth: float) -> float:  # noqa: ARG002
        """`confirm_at` or `refute_at`."""
        return self.confirm_at if confirming else self.refute_at

    @property
    def reads_interval(self) -> bool:
        """True with `use: interval`."""
        return self.use == "interval"

    def numbers(self) -> Numbers:
        """Both thresholds, direction and use."""
        return {
            "confirm_at": self.confirm_at,
            "refute_at": self.refute_at,
            "direction": self.direction,
            "use": self.use,
        }
