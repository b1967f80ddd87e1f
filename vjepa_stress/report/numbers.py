"""Formatting of numbers. All rounding for reports is in this module."""

from __future__ import annotations

import math

from vjepa_stress.prereg.scenarios import Chance


def number(value: float | None) -> str:
    """Three decimals; scientific notation with two significant digits below 0.001."""
    if value is None:
        return "undefined"
    if not math.isfinite(value):
        return str(value)
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}".replace("e-0", "e-")
    return f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """An interval in brackets."""
    if low is None or high is None:
        return "undefined"
    return f"[{number(low)}, {number(high)}]"


def percent(share: float) -> str:
    """A share in whole per cent."""
    return f"{share:.0%}"


def level(share: float) -> str:
    """The level of an interval in per cent, with at least one digit of α."""
    per_cent = 100 * share
    decimals = max(1, math.ceil(-math.log10(100 - per_cent))) if per_cent < 100 else 1
    text = f"{per_cent:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def chance(one: Chance) -> str:
    """A simulated share with its interval for Monte-Carlo error."""
    return f"{one.p:.1%} [{one.low:.1%}, {one.high:.1%}]"
