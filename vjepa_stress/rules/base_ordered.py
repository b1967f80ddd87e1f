"""Base class of the rules that read a change along an order: falling or rising."""

from __future__ import annotations

import math
from typing import Literal

from vjepa_stress.rules.base import LeafRule
from vjepa_stress.statistics.numerics.estimate import Estimate, Step

DIRECTIONS = {
    "along order=falling": "downwards",
    "against order=falling": "upwards",
    "along order=rising": "upwards",
    "against order=rising": "downwards",
}
"""Words for `{along}` and `{against}`."""


class OrderedRule(LeafRule):
    """A rule that expects a curve to fall, or to rise."""

    order: Literal["falling", "rising"]

    @property
    def along(self) -> float:
        """1 if a rise is along the order, −1 if a fall is."""
        return 1.0 if self.order == "rising" else -1.0

    def whole_change(self, estimate: Estimate) -> Step:
        """The change from the first level to the last.

        Raises:
            ValueError: when the estimate has none.
        """
        if estimate.overall is None:
            raise ValueError(f"{self.kind} reads changes, but the estimate of {self.estimand} has none")
        return estimate.overall

    def ends(self, step: Step) -> tuple[float, float]:
        """Ends of the interval of a change, positive along the order; infinite if it has none."""
        low = -math.inf if step.low is None else step.low
        high = math.inf if step.high is None else step.high
        return (low, high) if self.order == "rising" else (-high, -low)
