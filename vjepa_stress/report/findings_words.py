"""Sentences for what `check` finds."""

from __future__ import annotations

from vjepa_stress.statistics import STATISTICS
from vjepa_stress.verdict.check import Finding

_TEXTS = {
    "no-row": "no row can fulfil its conditions: {column} lies in [{low}, {high}]",
    "out-of-range": "{kind} has a border at {border}, but this number lies in [{low}, {high}]",
    "overlapping": "one estimate is confirmed and refuted",
    "vacuous": "whatever is found, the verdict is {outcome}",
    "unreachable": "no possible result is {outcome}",
    "moved-positions": "{column} compares positions, and {moving} moves what is there{instead}",
    "too-few-clips": "with {units} units its interval fits into [{low}, {high}] only if units deviate by {largest} or "
    "less",
    "few-clips": "its interval is resampled from {units} units; of fewer than {least} it is too narrow: take more",
    "constant": "its verdict is the same in every simulated study of every scenario: add one in which it should differ",
    "low-power": "in no scenario is it decided in more than {best} of the studies: more units, or another rule",
    "no-control": "no {factor} is a control: an untrained twin or raw pixels in the same cells shows what a metric says "
    "of anything",
    "multiplicity": "{n} hypotheses and no correction for multiplicity: say why, or use `bonferroni`",
    "no-calibration": "no calibration hypothesis: an identity probe with a maximum shows the noise floor first",
    "no-scenarios": "no scenarios: it is unknown how likely these rules are to find what they look for",
}


def finding(one: Finding) -> str:
    """A finding in one line."""
    values = {name: value if isinstance(value, str) else f"{value:.3g}" for name, value in one.values.items()}
    if one.code == "moved-positions":
        values["instead"] = f"; {values['aligned']} maps them back first" if values.get("aligned") else ""
    if one.code == "low-power":
        values["best"] = f"{float(one.values['best']):.0%}"
    own = STATISTICS[values["statistic"]].words if "statistic" in values else {}
    text = (own.get(one.code) or _TEXTS[one.code]).format(**values)
    if one.severity == "acknowledged":
        text = f"{text}. Acknowledged: {values['reason']}"
    elif one.severity == "warning":
        fix = (
            f"{{warning: {one.code}, hypothesis: {values['hypothesis']}, estimand: {values['estimand']}, reason: …}}"
        )
        text = f"{text}. Measure something else, or acknowledge it: {fix}"
    return f"{one.severity} ({one.code}) {one.where}: {text}"
