"""The published criterion for a curve that falls, or rises: changes against pooled half-widths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from vjepa_stress.rules.base import Decision, Numbers
from vjepa_stress.rules.base_ordered import DIRECTIONS, OrderedRule
from vjepa_stress.statistics.numerics.estimate import Estimate, Reads


class MonotonePooled(OrderedRule):
    """A curve over ordered levels, of `jumps` with `interval: pooled`, that falls (or rises) by more than noise.

    A step against the order by more than `noise` pooled half-widths: refuted. No such step, and a change from the
    first to the last level along the order by more than `noise` pooled half-widths: confirmed. Otherwise ambiguous,
    so that a study that is too small confirms nothing. Pooled half-widths ignore that the levels share units, so that
    certain reversals can go unnoticed: use `monotone`, unless a published study is replicated.
    """

    reads: ClassVar[Reads] = "pooled-curve"
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "{estimand} has no step {against} by more than {noise} pooled half-widths, and a change {along} "
        "from first to last by more than that",
        "refuted": "{estimand} has a step {against} by more than {noise} pooled half-widths",
        "ambiguous": "{estimand} has neither a step {against} by more than {noise} pooled half-widths nor a change "
        "{along} from first to last by more than that",
        "condition": "a change {along} from first to last by more than {noise} pooled half-widths, {refuted} by one "
        "step {against} by more than that",
        **DIRECTIONS,
    }

    kind: Literal["monotone_pooled"]
    noise: float = Field(gt=0, allow_inf_nan=False, description="in pooled half-widths √(h₁² + h₂²)")

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare each step, and the change from first to last, with the noise."""
        overall = self.whole_change(estimate)
        against = any(-self.along * step.value > self.noise * (step.half_width or 0.0) for step in estimate.steps)
        gained = self.along * overall.value > self.noise * (overall.half_width or 0.0)
        return Decision(gained and not against, against)

    def borders(self) -> tuple[float, ...]:
        """The noise in both directions, in half-widths."""
        return -self.noise, self.noise

    def border(self, confirming: bool, truth: float) -> float:  # noqa: ARG002
        """The noise along the order, for both. A refuting step against the order is no change from first to last."""
        return self.along * self.noise

    def numbers(self) -> Numbers:
        """The noise and the order."""
        return {"noise": self.noise, "order": self.order}
