"""TOST: two one-sided tests of equivalence to zero, with an α of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from vjepa_stress.rules.base import Numbers
from vjepa_stress.rules.base_interval import BetweenBorders


class Tost(BetweenBorders):
    """Interval inside ±margin: confirmed; interval and ±margin disjoint: refuted; otherwise ambiguous.

    Two one-sided tests at `alpha` each (Schuirmann 1987) confirm if and only if the interval of level 1 − 2·alpha is
    inside ±margin. This level does not depend on the level of the study. Corrections for multiplicity divide `alpha`.
    """

    claims_no_effect: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = {
        **BetweenBorders.words,
        "confirmed": "the interval of {estimand} is inside [{low}, {high}] (two one-sided tests at α = {alpha})",
        "condition": "two one-sided tests at α = {alpha}: interval inside [{low}, {high}], {refuted} when outside",
    }

    kind: Literal["tost"]
    margin: float = Field(gt=0, allow_inf_nan=False)
    alpha: float = Field(gt=0, lt=0.5, allow_inf_nan=False, description="of each of the two one-sided tests")

    def interval_alpha(self, study: float) -> float:  # noqa: ARG002
        """Twice its α."""
        return 2 * self.alpha

    def borders(self) -> tuple[float, float]:
        """Both ends of the margin."""
        return -self.margin, self.margin

    def stated(self) -> tuple[float, ...]:
        """The margin alone: its negative may be outside the range of the estimand."""
        return (self.margin,)

    def numbers(self) -> Numbers:
        """Both ends of the margin, and α."""
        return {"low": -self.margin, "high": self.margin, "alpha": self.alpha}
