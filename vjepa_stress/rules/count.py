"""Enough of several rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.rules.base import Combination, Decision, Numbers, Rule, count


class Count(Combination):
    """Confirmed when enough of several sub-rules confirm, refuted when enough of them refute, else ambiguous."""

    words: ClassVar[Mapping[str, str]] = {
        "needs": "{confirmed} needs {confirm_at_least}, {refuted} needs {refute_at_least}"
    }

    kind: Literal["count"]
    confirm_at_least: int = Field(ge=1)
    refute_at_least: int = Field(ge=1)

    @model_validator(mode="after")
    def _exclusive(self) -> Self:
        n = len(self.of)
        if max(self.confirm_at_least, self.refute_at_least) > n:
            raise ValueError(f"there are only {n} sub-rules: a count above {n} can never be reached")
        if self.confirm_at_least + self.refute_at_least <= n:
            raise ValueError(
                f"with {n} sub-rules, {self.confirm_at_least} could confirm while {self.refute_at_least} refute: "
                f"the two counts must sum to more than {n}"
            )
        return self

    def combine(self, outcomes: Sequence[str]) -> Decision:
        """By both counts."""
        confirmed, refuted = count(outcomes)
        return Decision(confirmed >= self.confirm_at_least, refuted >= self.refute_at_least)

    def numbers(self) -> Numbers:
        """Both counts."""
        return {
            **super().numbers(),
            "confirm_at_least": self.confirm_at_least,
            "refute_at_least": self.refute_at_least,
        }

    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """Itself, unless it would lose a sub-rule: its counts were chosen for as many as it has.

        Raises:
            ValueError: when it would.
        """
        lost = sorted({leaf.estimand for leaf in self.leaves()} & set(withdrawn))
        if lost:
            raise ValueError(
                f"{', '.join(lost)} is counted with others, and without it the counts mean something else: "
                "an amendment must restate them"
            )
        return self
