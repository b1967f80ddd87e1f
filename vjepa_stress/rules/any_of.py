"""Any of several sub-rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from vjepa_stress.rules.base import Combination, Decision, count


class AnyOf(Combination):
    """Any sub-rule confirmed: confirmed; all refuted: refuted; otherwise ambiguous."""

    words: ClassVar[Mapping[str, str]] = {"needs": "{confirmed} needs one, {refuted} needs all"}

    kind: Literal["any_of"]

    def combine(self, outcomes: Sequence[str]) -> Decision:
        """Confirmed by one, refuted by all."""
        confirmed, refuted = count(outcomes)
        return Decision(confirmed > 0, refuted == len(outcomes))
