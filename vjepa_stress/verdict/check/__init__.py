"""Checks of a preregistration document before any data."""

from __future__ import annotations

from vjepa_stress.verdict.check.chances import with_chances
from vjepa_stress.verdict.check.findings import Finding, check
from vjepa_stress.verdict.check.reach import check_rule, value_range

__all__ = ["Finding", "check", "check_rule", "value_range", "with_chances"]
