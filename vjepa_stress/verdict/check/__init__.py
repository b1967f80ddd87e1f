"""Checks of a preregistration document before any data."""

from __future__ import annotations

from vjepa_stress.statistics.base import LEAST_SOURCES
from vjepa_stress.verdict.check.chances import read_plan, with_chances
from vjepa_stress.verdict.check.finding import Finding
from vjepa_stress.verdict.check.findings import check
from vjepa_stress.verdict.check.reach import check_rule, value_range

__all__ = ["LEAST_SOURCES", "Finding", "check", "check_rule", "read_plan", "value_range", "with_chances"]
