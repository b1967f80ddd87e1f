"""All of several sub-rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from vjepa_stress.rules.base import Combination, Decision, count


class AllOf(Combination):
    """Any sub-rule refuted: refuted; all confirmed: confirmed; otherwise ambiguous."""

    words: ClassVar[Mapping[str, str]] = {"needs": "{confirmed} needs all, {refuted} needs one"}

    kind: Literal["all_of"]

    def combine(self, outcomes: Sequence[str]) -> Decision:
        """Confirmed by all, refuted by one."""
        confirmed, refuted = count(outcomes)
        return Decision(confirmed == len(outcomes), refuted > 0)
