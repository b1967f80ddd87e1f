"""Monotone: a curve that falls, or rises, from its first level to its last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from vjepa_stress.rules.base import Decision, LeafRule, Numbers
from vjepa_stress.statistics.numerics.estimate import Estimate


class Monotone(LeafRule):
    """A curve over ordered levels, computed by `jumps`, that falls (or rises) by more than noise.

    A step against the order by more than `noise` pooled half-widths: refuted. No such step, and a change from the
    first to the last level along the order by more than `noise` pooled half-widths: confirmed. Otherwise ambiguous,
    so that a study that is too small confirms nothing.
    """

    reads: ClassVar[Literal["number", "curve"]] = "curve"
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "{estimand} has no step {against} by more than {noise} pooled half-widths, and a change {along} "
        "from first to last by more than that",
        "refuted": "{estimand} has a step {against} by more than {noise} pooled half-widths",
        "ambiguous": "{estimand} has neither a step {against} by more than {noise} pooled half-widths nor a change "
        "{along} from first to last by more than that",
        "condition": "a change {along} from first to last by more than {noise} pooled half-widths, {refuted} by one "
        "step {against} by more than that",
        "along order=falling": "downwards",
        "against order=falling": "upwards",
        "along order=rising": "upwards",
        "against order=rising": "downwards",
    }

    kind: Literal["monotone"]
    order: Literal["falling", "rising"]
    noise: float = Field(gt=0, allow_inf_nan=False, description="in pooled half-widths √(h₁² + h₂²)")

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare each step, and the change from first to last, with the noise."""
        if estimate.overall is None:
            raise ValueError(f"{self.kind} reads steps, but the estimate of {self.estimand} has none")
        along = -1.0 if self.order == "falling" else 1.0
        against = any(-along * step.value > self.noise * step.half_width for step in estimate.steps)
        gained = along * estimate.overall.value > self.noise * estimate.overall.half_width
        return Decision(gained and not against, against)

    def borders(self) -> tuple[float, ...]:
        """The noise in both directions, in half-widths."""
        return -self.noise, self.noise

    def numbers(self) -> Numbers:
        """The noise and the order."""
        return {"noise": self.noise, "order": self.order}
