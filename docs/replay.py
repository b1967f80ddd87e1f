"""The published study put to the rules of `vjepa21`: published numbers in, verdicts out.

What was not published is assumed, and named as such: half-widths, and which models the spread of M2 belongs to.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from vjepa_stress.prereg.drafts import expand
from vjepa_stress.rules import AnyRule, Rule
from vjepa_stress.rules.equivalence import Equivalence
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Step
from vjepa_stress.verdict.estimate import fisher_ci
from vjepa_stress.verdict.judge import Verdict, judge

HERE = Path(__file__).parent
PUBLISHED: dict[str, Any] = yaml.safe_load((HERE / "published.yaml").read_text())
_DRAFT = HERE.parent / "prereg" / "vjepa21" / "draft.yaml"
DRAFT: dict[str, Any] = expand(yaml.safe_load(_DRAFT.read_text()), _DRAFT)
HALF_WIDTH: float = PUBLISHED["half_width_of_cell_means"]["largest"]
"""Assumed for means over one cell: the largest one published."""
INDEPENDENT = PUBLISHED["half_width_of_cell_means"]["median"] / math.sqrt(10)
"""Assumed for a mean over ten strengths: the median one published, if a clip's strengths were independent."""
EQUAL = PUBLISHED["half_width_of_cell_means"]["median"]
"""The other end: if a clip's strengths all said the same."""


def rule_of(hypothesis: str) -> Rule:
    """A rule of the draft."""
    (fields,) = (one["rule"] for one in DRAFT["hypotheses"] if one["id"] == hypothesis)
    rule: Rule = TypeAdapter(AnyRule).validate_python(fields)
    return rule


def given(value: float, low: float, high: float, method: Method = "percentile", n: int = 200) -> Estimate:
    """An estimate that was published, or assumed; no rule reads how its interval was computed."""
    return Estimate(value=value, low=low, high=high, n=n, method=method)


def near(value: float, half_width: float = HALF_WIDTH) -> Estimate:
    """A published mean with an assumed half-width."""
    return given(value, value - half_width, value + half_width)


def curve(half_width: float) -> Estimate:
    """A scaling curve with the smallest published upward jump; falls elsewhere are assumed to be as large."""
    pooled, up = math.sqrt(2) * half_width, PUBLISHED["smallest_upward_jump"]
    steps = [Step(value=change, half_width=pooled, low=None, high=None, n=200) for change in (-up, up, -up)]
    overall = Step(value=-up, half_width=pooled, low=None, high=None, n=200)
    return given(-up, -up - pooled, -up + pooled, "student-t").model_copy(
        update={"steps": tuple(steps), "overall": overall}
    )


def correlation(name: str) -> Estimate:
    """A published correlation with its published interval."""
    row = PUBLISHED["correlations"][name]
    return given(row["r"], row["low"], row["high"], "fisher", row["n"])


def replay(scaling_half_width: float = INDEPENDENT) -> dict[str, Verdict]:
    """Verdicts of the rules on the published numbers. H1's curves were not published."""
    smallest, largest = PUBLISHED["reverse_M2"]
    seen = {"M2_base": near(smallest), **{f"M2_{name}": near(largest) for name in ("large", "giant", "gigantic")}}
    floor = PUBLISHED["identity_largest_M2"]
    ratio = PUBLISHED["ratio"]
    # "On at least three of four": the fourth is taken for a failure everywhere.
    signs = {
        leaf.estimand: near(-0.05 if leaf.estimand.startswith("gigantic") else 0.05, 0.01)
        for leaf in rule_of("H5").leaves()
        if leaf.estimand != "ratio"
    }
    return {
        "C1": judge(rule_of("C1"), {"floor": given(floor, floor, floor, "none")}),
        "H2": judge(rule_of("H2"), seen),
        "H3": judge(rule_of("H3"), {"hflip": near(PUBLISHED["hflip_M2"])}),
        "H4": judge(rule_of("H4"), {leaf.estimand: curve(scaling_half_width) for leaf in rule_of("H4").leaves()}),
        "H5": judge(rule_of("H5"), {"ratio": given(ratio["value"], ratio["low"], ratio["high"]), **signs}),
        "H6": judge(rule_of("H6"), {"pooled": correlation("all")}),
    }


def small_enough(name: str, margin: float = 0.15) -> Verdict:
    """Whether a correlation is as good as zero: a rule, where the report had a word."""
    rule = Equivalence(kind="equivalence", estimand="r", margin=margin)
    return judge(rule, {"r": correlation(name)})


def fisher_ends() -> dict[str, tuple[float, float]]:
    """Fisher intervals computed from each published r and n."""
    return {name: fisher_ci(row["r"], row["n"]) for name, row in PUBLISHED["correlations"].items()}
