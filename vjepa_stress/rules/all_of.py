"""All of several sub-rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from vjepa_stress.rules.base import Combination


class AllOf(Combination):
    """Any sub-rule refuted: refuted; all confirmed: confirmed; otherwise ambiguous."""

    words: ClassVar[Mapping[str, str]] = {"needs": "{confirmed} needs all, {refuted} needs one"}

    kind: Literal["all_of"]

    @property
    def needed(self) -> tuple[int, int]:
        """All, and one."""
        return len(self.of), 1
