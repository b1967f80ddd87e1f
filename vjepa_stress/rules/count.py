"""A given number of several sub-rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.rules.base import Combination, Numbers, Rule


class Count(Combination):
    """At least `confirm_at_least` sub-rules confirmed: confirmed; at least `refute_at_least` refuted: refuted.

    Otherwise ambiguous.
    """

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
            raise ValueError(f"there are only {n} sub-rules: a count above {n} cannot be reached")
        if self.confirm_at_least + self.refute_at_least <= n:
            raise ValueError(
                f"{self.confirm_at_least} of {n} sub-rules can be confirmed while {self.refute_at_least} are "
                f"refuted: the two counts must sum to more than {n}"
            )
        return self

    @property
    def needed(self) -> tuple[int, int]:
        """Both counts."""
        return self.confirm_at_least, self.refute_at_least

    def numbers(self) -> Numbers:
        """The number of sub-rules, and both counts."""
        return {
            **super().numbers(),
            "confirm_at_least": self.confirm_at_least,
            "refute_at_least": self.refute_at_least,
        }

    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """The rule itself. It cannot lose a sub-rule, because its counts were chosen for this number of sub-rules.

        Raises:
            ValueError: when a sub-rule reads a withdrawn estimand.
        """
        lost = sorted({leaf.estimand for leaf in self.leaves()} & set(withdrawn))
        if lost:
            raise ValueError(
                f"the rule counts {', '.join(lost)} with other estimands; without it the counts have another "
                "meaning, and an amendment must restate them"
            )
        return self
