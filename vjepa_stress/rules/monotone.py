"""A curve that falls, or rises, all the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from vjepa_stress.rules.base import Decision, LeafRule, Numbers
from vjepa_stress.statistics.numerics.estimate import Estimate


class Monotone(LeafRule):
    """A curve over ordered levels, read from `jumps`: it should fall (or rise) all the way, beyond noise.

    A jump against the order by more than `noise` pooled half-widths: refuted. No such jump, and a change from the
    first to the last level along the order by more than `noise` pooled half-widths: confirmed. Else ambiguous, so
    that a study too small to see anything confirms nothing.
    """

    reads: ClassVar[Literal["number", "curve"]] = "curve"
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "{estimand} has no step {against} by more than {noise} pooled half-widths, and a change {along} "
        "from first to last by more than that",
        "refuted": "{estimand} has a step {against} by more than {noise} pooled half-widths",
        "ambiguous": "{estimand} has neither a step {against} by more than {noise} pooled half-widths nor a change "
        "{along} from first to last by more than that",
        "asks": "a change {along} from first to last by more than {noise} pooled half-widths, {refuted} by one step "
        "{against} by more than that",
        "along order=falling": "downwards",
        "against order=falling": "upwards",
        "along order=rising": "upwards",
        "against order=rising": "downwards",
    }

    kind: Literal["monotone"]
    order: Literal["falling", "rising"]
    noise: float = Field(gt=0, allow_inf_nan=False, description="in pooled half-widths √(h₁² + h₂²)")

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """By each step, and by the whole change."""
        if estimate.overall is None:
            raise ValueError(f"{self.kind} reads steps, and the estimate of {self.estimand} has none")
        along = -1.0 if self.order == "falling" else 1.0
        against = any(-along * step.value > self.noise * step.half_width for step in estimate.steps)
        gained = along * estimate.overall.value > self.noise * estimate.overall.half_width
        return Decision(gained and not against, against)

    def borders(self) -> tuple[float, ...]:
        """In half-widths."""
        return -self.noise, self.noise

    def numbers(self) -> Numbers:
        """The noise and the order."""
        return {"noise": self.noise, "order": self.order}
