"""Trend: cell means that are ordered by a numeric factor, and differ enough between its ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.rules.base import Decision, Numbers
from vjepa_stress.rules.base_ordered import OrderedRule
from vjepa_stress.statistics.numerics.estimate import Estimate, Reads

Rho = Field(ge=-1, le=1, allow_inf_nan=False)


class TrendRule(OrderedRule):
    """Cell means, summarised by `trend`, that rise (or fall) with a numeric factor.

    The rank correlation along the order is at or above `confirm_at`, and the whole interval of the change between
    the lowest and the highest level is at or above `smallest`: confirmed. The correlation is below `refute_at`, or
    the whole interval is below `smallest`: refuted. Otherwise ambiguous. The rank correlation alone would confirm an
    order of differences that are too small to matter, and three levels without any trend in one of six studies.
    """

    reads: ClassVar[Reads] = "trend"
    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "the rank correlation of {estimand}, positive when {order}, is at or above {confirm_at}, "
        "and the whole interval of its change is at or above {smallest}",
        "refuted": "the rank correlation of {estimand}, positive when {order}, is below {refute_at}, or the "
        "whole interval of its change is below {smallest}",
        "ambiguous": "the rank correlation of {estimand}, positive when {order}, is below {confirm_at} but "
        "not below {refute_at}, or the interval of its change contains {smallest}",
        "condition": "{order}: rank correlation at or above {confirm_at} and a change of {smallest} or more, "
        "{refuted} by a correlation below {refute_at} or a smaller change",
    }

    kind: Literal["trend"]
    confirm_at: float = Field(gt=0, le=1, allow_inf_nan=False)
    refute_at: float = Rho
    smallest: float = Field(gt=0, allow_inf_nan=False, description="smallest change that matters, from end to end")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if self.refute_at > self.confirm_at:
            raise ValueError(
                f"the regions of confirmation and refutation overlap: refute_at {self.refute_at} is above confirm_at "
                f"{self.confirm_at}"
            )
        return self

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:  # noqa: ARG002
        """Compare the rank correlation and the interval of the change."""
        change = self.whole_change(estimate)
        if change.low is None or change.high is None:
            raise ValueError(f"the change of {self.estimand} has no interval")
        least, most = self.ends(change)
        rho = self.along * value
        return Decision(
            rho >= self.confirm_at and least >= self.smallest, rho < self.refute_at or most < self.smallest
        )

    def borders(self) -> tuple[float, ...]:
        """Both correlations, and the smallest change."""
        return self.along * self.confirm_at, self.along * self.refute_at, self.smallest

    def border(self, confirming: bool, truth: float) -> float:  # noqa: ARG002
        """The smallest change along the order, for both."""
        return self.along * self.smallest

    def stated(self) -> tuple[float, ...]:
        """Both correlations."""
        return self.confirm_at, self.refute_at

    def numbers(self) -> Numbers:
        """Order, both correlations, and the smallest change."""
        return {
            "order": self.order,
            "confirm_at": self.confirm_at,
            "refute_at": self.refute_at,
            "smallest": self.smallest,
        }
