"""Equivalence: an interval inside a margin around zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from vjepa_stress.rules.band import Band
from vjepa_stress.rules.base import Decision, LeafRule, Numbers
from vjepa_stress.statistics.numerics.estimate import Estimate


class Equivalence(LeafRule):
    """Interval inside ±margin: confirmed; interval and ±margin disjoint: refuted; otherwise ambiguous.

    At a level of 95 % this equals two one-sided tests at α = 0.025 each (Schuirmann 1987).
    """

    two_sided: ClassVar[bool] = True
    claims_no_effect: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = Band.words

    kind: Literal["equivalence"]
    margin: float = Field(gt=0, allow_inf_nan=False)

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare the interval with the margin."""
        return Decision(-self.margin <= low and high <= self.margin, high < -self.margin or low > self.margin)

    def borders(self) -> tuple[float, ...]:
        """Both ends of the margin."""
        return -self.margin, self.margin

    def stated(self) -> tuple[float, ...]:
        """The margin alone: its negative may be outside the range of the estimand."""
        return (self.margin,)

    def numbers(self) -> Numbers:
        """Both ends of the margin."""
        return {"low": -self.margin, "high": self.margin}
