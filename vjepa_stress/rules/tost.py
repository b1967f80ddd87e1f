"""TOST: two one-sided tests of equivalence to zero, with an α of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from vjepa_stress.rules.base import Decision, LeafRule, Numbers
from vjepa_stress.statistics.numerics.estimate import Estimate


class Tost(LeafRule):
    """Interval inside ±margin: confirmed; interval and ±margin disjoint: refuted; otherwise ambiguous.

    Two one-sided tests at `alpha` each (Schuirmann 1987) confirm if and only if the interval of level 1 − 2·alpha is
    inside ±margin. This level does not depend on the level of the study. Corrections for multiplicity divide `alpha`.
    """

    two_sided: ClassVar[bool] = True
    claims_no_effect: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "the interval of {estimand} is inside [{low}, {high}] (two one-sided tests at α = {alpha})",
        "refuted": "the interval of {estimand} is outside [{low}, {high}]",
        "ambiguous": "the interval of {estimand} crosses a border of [{low}, {high}]",
        "condition": "two one-sided tests at α = {alpha}: interval inside [{low}, {high}], {refuted} when outside",
    }

    kind: Literal["tost"]
    margin: float = Field(gt=0, allow_inf_nan=False)
    alpha: float = Field(gt=0, lt=0.5, allow_inf_nan=False, description="of each of the two one-sided tests")

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare the interval with the margin."""
        return Decision(-self.margin <= low and high <= self.margin, high < -self.margin or low > self.margin)

    def interval_alpha(self, study: float) -> float:  # noqa: ARG002
        """Twice its α."""
        return 2 * self.alpha

    def borders(self) -> tuple[float, ...]:
        """Both ends of the margin."""
        return -self.margin, self.margin

    def border(self, confirming: bool, truth: float) -> float:  # noqa: ARG002
        """The end that is nearest to the truth, for both."""
        return min(self.borders(), key=lambda end: abs(end - truth))

    def stated(self) -> tuple[float, ...]:
        """The margin alone: its negative may be outside the range of the estimand."""
        return (self.margin,)

    def numbers(self) -> Numbers:
        """Both ends of the margin, and α."""
        return {"low": -self.margin, "high": self.margin, "alpha": self.alpha}
