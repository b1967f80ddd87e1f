"""Checks of a preregistration document before any data."""

from __future__ import annotations

from vjepa_stress.verdict.check.chances import with_chances
from vjepa_stress.verdict.check.findings import LEAST_SOURCES, Finding, check
from vjepa_stress.verdict.check.reach import check_rule, value_range

__all__ = ["LEAST_SOURCES", "Finding", "check", "check_rule", "value_range", "with_chances"]
