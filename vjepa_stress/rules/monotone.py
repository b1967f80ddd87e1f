"""Monotone: a curve that falls, or rises, from its first level to its last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from vjepa_stress.rules.base import Decision, Numbers
from vjepa_stress.rules.base_ordered import DIRECTIONS, OrderedRule
from vjepa_stress.statistics.numerics.estimate import Estimate, Reads


class Monotone(OrderedRule):
    """A curve over ordered levels, computed by `jumps`, that falls (or rises), by paired simultaneous intervals.

    The change from the first level to the last is along the order by `smallest` or more, and no step is against the
    order by more than `tolerance`, with whole intervals: confirmed. The whole interval of the change is short of
    `smallest`, or that of one step is against the order by more than `tolerance`: refuted. Otherwise ambiguous, so
    that a study that is too small confirms nothing.
    """

    reads: ClassVar[Reads] = "curve"
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "{estimand} changes {along} by {smallest} or more from first to last, and no step is {against} "
        "by more than {tolerance}, with whole simultaneous intervals",
        "refuted": "{estimand} changes {along} by less than {smallest} from first to last, or has a step {against} "
        "by more than {tolerance}, with the whole simultaneous interval",
        "ambiguous": "the simultaneous intervals of {estimand} decide neither whether it changes {along} by "
        "{smallest} from first to last, nor whether a step is {against} by more than {tolerance}",
        "condition": "a change {along} by {smallest} or more from first to last without a step {against} by more "
        "than {tolerance}, {refuted} by a smaller change or by such a step",
        **DIRECTIONS,
    }

    kind: Literal["monotone"]
    smallest: float = Field(ge=0, allow_inf_nan=False, description="smallest change from first to last that matters")
    tolerance: float = Field(ge=0, allow_inf_nan=False, description="largest tolerated step against the order")

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare the intervals of each step, and of the change from first to last, with both numbers."""
        least, most = self.ends(self.whole_change(estimate))
        steps = [self.ends(step) for step in estimate.steps]
        reversed_ = any(high < -self.tolerance for _, high in steps)
        # With smallest = 0, a change of exactly 0 is no change.
        gained = least >= self.smallest and least > 0
        held = all(low >= -self.tolerance for low, _ in steps)
        return Decision(gained and held, most < self.smallest or reversed_)

    def borders(self) -> tuple[float, ...]:
        """The smallest change and the tolerance; 1 stands for any change if both are 0."""
        return tuple(number for number in (self.smallest, self.tolerance) if number) or (1.0,)

    def border(self, confirming: bool, truth: float) -> float:  # noqa: ARG002
        """The smallest change along the order, for both."""
        return self.along * self.smallest

    def stated(self) -> tuple[float, ...]:
        """The smallest change along the order, and the tolerated step against it."""
        return self.along * self.smallest, -self.along * self.tolerance

    def numbers(self) -> Numbers:
        """Order, smallest change and tolerance."""
        return {"order": self.order, "smallest": self.smallest, "tolerance": self.tolerance}
