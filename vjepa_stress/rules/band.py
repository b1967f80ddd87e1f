"""Band: an interval between two numbers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from vjepa_stress.fields import Finite
from vjepa_stress.rules.base import Numbers
from vjepa_stress.rules.base_interval import BetweenBorders


class Band(BetweenBorders):
    """Interval inside [low, high]: confirmed; interval and band disjoint: refuted; otherwise ambiguous."""

    kind: Literal["band"]
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: no estimate could be confirmed")
        return self

    def borders(self) -> tuple[float, float]:
        """Both ends of the band."""
        return self.low, self.high

    def numbers(self) -> Numbers:
        """Both ends of the band."""
        return {"low": self.low, "high": self.high}
