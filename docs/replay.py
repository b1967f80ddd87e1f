"""The rules of `vjepa21` applied to the numbers of the published study.

Unpublished inputs are assumed and marked as such: half-widths, and which model has which of the published means.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from vjepa_stress.prereg.drafts import expand
from vjepa_stress.rules import AnyRule, Rule
from vjepa_stress.rules.tost import Tost
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Step
from vjepa_stress.verdict.estimate import fisher_ci
from vjepa_stress.verdict.judge import Verdict, judge

HERE = Path(__file__).parent
PUBLISHED: dict[str, Any] = yaml.safe_load((HERE / "published.yaml").read_text())
_DRAFT = HERE.parent / "prereg" / "vjepa21" / "draft.yaml"
DRAFT: dict[str, Any] = expand(yaml.safe_load(_DRAFT.read_text()), _DRAFT)
HALF_WIDTH: float = PUBLISHED["half_width_of_cell_means"]["largest"]
"""Assumed half-width of a mean over one cell: the largest published one."""
INDEPENDENT = PUBLISHED["half_width_of_cell_means"]["median"] / math.sqrt(10)
"""Assumed half-width of a mean over ten strengths: the published median, if strengths of a clip are independent."""
EQUAL = PUBLISHED["half_width_of_cell_means"]["median"]
"""The other extreme: the same half-width if the strengths of a clip are perfectly correlated."""


def rule_of(hypothesis: str) -> Rule:
    """The rule of a hypothesis of the draft."""
    (fields,) = (one["rule"] for one in DRAFT["hypotheses"] if one["id"] == hypothesis)
    rule: Rule = TypeAdapter(AnyRule).validate_python(fields)
    return rule


def given(value: float, low: float, high: float, method: Method = "percentile", n: int = 200) -> Estimate:
    """A published or assumed estimate. No rule reads `method`."""
    return Estimate(value=value, low=low, high=high, n=n, method=method)


def near(value: float, half_width: float = HALF_WIDTH) -> Estimate:
    """A published mean with an assumed half-width."""
    return given(value, value - half_width, value + half_width)


def curve(half_width: float) -> Estimate:
    """A scaling curve with the smallest published upward jump, and assumed downward jumps of the same size."""
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
    """Verdicts of the rules on the published numbers, without H1, whose curves were not published."""
    smallest, largest = PUBLISHED["reverse_M2"]
    reversal = {"M2_base": near(smallest), **{f"M2_{name}": near(largest) for name in ("large", "giant", "gigantic")}}
    floor = PUBLISHED["identity_largest_M2"]
    ratio = PUBLISHED["ratio"]
    # Published as "on at least three of four": the fourth model is assumed to fail at every strength.
    signs = {
        leaf.estimand: near(-0.05 if leaf.estimand.startswith("gigantic") else 0.05, 0.01)
        for leaf in rule_of("H5").leaves()
        if leaf.estimand != "ratio"
    }
    return {
        "C1": judge(rule_of("C1"), {"floor": given(floor, floor, floor, "none")}),
        "H2": judge(rule_of("H2"), reversal),
        "H3": judge(rule_of("H3"), {"hflip": near(PUBLISHED["hflip_M2"])}),
        "H4": judge(rule_of("H4"), {leaf.estimand: curve(scaling_half_width) for leaf in rule_of("H4").leaves()}),
        "H5": judge(rule_of("H5"), {"ratio": given(ratio["value"], ratio["low"], ratio["high"]), **signs}),
        "H6": judge(rule_of("H6"), {"pooled": correlation("all")}),
    }


def small_enough(name: str, margin: float = 0.15) -> Verdict:
    """Whether a correlation is equivalent to zero, by a rule instead of by judgement."""
    # The published intervals have a level of 95 %, which is that of two one-sided tests at 0.025.
    rule = Tost(kind="tost", estimand="r", margin=margin, alpha=0.025)
    return judge(rule, {"r": correlation(name)})


def fisher_ends() -> dict[str, tuple[float, float]]:
    """Fisher intervals computed from each published r and n."""
    return {name: fisher_ci(row["r"], row["n"]) for name, row in PUBLISHED["correlations"].items()}
