"""Any of several sub-rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from vjepa_stress.rules.base import Combination


class AnyOf(Combination):
    """Any sub-rule confirmed: confirmed; all refuted: refuted; otherwise ambiguous."""

    words: ClassVar[Mapping[str, str]] = {"needs": "{confirmed} needs one, {refuted} needs all"}

    kind: Literal["any_of"]

    @property
    def needed(self) -> tuple[int, int]:
        """One, and all."""
        return 1, len(self.of)
