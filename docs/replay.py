"""The rules of `vjepa21` applied to the numbers of the published study.

Unpublished inputs are assumed and marked as such: half-widths of cell means, which model has which of the published
means, and the sizes of differences of which only the sign was published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter
from scipy import stats

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
Z = float(stats.norm.ppf(0.975))


def rule_of(hypothesis: str) -> Rule:
    """The rule of a hypothesis of the draft."""
    rule: Rule = TypeAdapter(AnyRule).validate_python(_rule_fields()[hypothesis])
    return rule


def _rule_fields() -> dict[str, dict[str, Any]]:
    return {one["id"]: one["rule"] for one in DRAFT["hypotheses"]}


def given(value: float, low: float, high: float, method: Method = "expanded", n: int = 200) -> Estimate:
    """A published or assumed estimate. No rule reads `method`."""
    return Estimate(value=value, low=low, high=high, n=n, method=method)


def near(value: float, half_width: float = HALF_WIDTH) -> Estimate:
    """A published mean with an assumed half-width."""
    return given(value, value - half_width, value + half_width)


def curve(in_half_widths: float, half_width: float = 1.0) -> Estimate:
    """A scaling curve with one upward jump of a published number of pooled half-widths.

    Its other changes were not published. They are set to zero, and cannot matter: one jump against the order refutes.

    Args:
        in_half_widths: the jump.
        half_width: unit of the jump. No outcome depends on it.
    """
    up = Step(value=in_half_widths * half_width, half_width=half_width, low=None, high=None, n=200)
    flat = Step(value=0.0, half_width=half_width, low=None, high=None, n=200)
    return given(0.0, 0.0, 0.0, "none").model_copy(update={"steps": (flat, up, flat), "overall": flat})


def correlation(name: str) -> Estimate:
    """A published correlation with its published interval."""
    row = PUBLISHED["correlations"][name]
    return given(row["r"], row["low"], row["high"], "fisher", row["n"])


def replay(half_width: float = 1.0) -> dict[str, Verdict]:
    """Verdicts of the rules on the published numbers, without H1, whose curves were not published.

    Args:
        half_width: pooled half-width of the scaling curves. No outcome depends on it, because their jumps were
            published in half-widths.
    """
    smallest, largest = PUBLISHED["reverse_M2"]
    reversal = {"M2_base": near(smallest), **{f"M2_{name}": near(largest) for name in ("large", "giant", "gigantic")}}
    floor, ratio = PUBLISHED["identity_largest_M2"], PUBLISHED["ratio"]
    # Only signs were published, for at least three of four models: the fourth is assumed to fail at every strength.
    signs = {
        leaf.estimand: near(-0.05 if leaf.estimand.startswith("gigantic") else 0.05, 0.01)
        for leaf in rule_of("H5").leaves()
        if leaf.estimand != "ratio"
    }
    # Every curve has the smallest jump in half-widths that was published for all.
    curves = {
        leaf.estimand: curve(PUBLISHED["scaling"]["every_curve_at_least"], half_width)
        for leaf in rule_of("H4").leaves()
    }
    return {
        "C1": judge(rule_of("C1"), {"floor": given(floor, floor, floor, "none")}),
        "H2": judge(rule_of("H2"), reversal),
        "H3": judge(rule_of("H3"), {"hflip": near(PUBLISHED["hflip_M2"])}),
        "H4": judge(rule_of("H4"), curves),
        "H5": judge(rule_of("H5"), {"ratio": given(ratio["value"], ratio["low"], ratio["high"]), **signs}),
        "H6": judge(rule_of("H6"), {"pooled": correlation("all")}),
    }


class RuleNumber(NamedTuple):
    """A number in a rule of the draft, and whether the published report names it."""

    hypothesis: str
    kind: str
    name: str
    value: float
    published: bool


def rule_numbers() -> list[RuleNumber]:
    """All numbers in the rules of the draft, each once. What the report does not name is a reconstruction."""
    return list(
        dict.fromkeys(
            RuleNumber(
                hypothesis, kind, name, value, PUBLISHED["numbers_of_rules"].get(hypothesis, {}).get(name) == value
            )
            for hypothesis, rule in _rule_fields().items()
            for kind, name, value in _numbers(rule)
        )
    )


def _numbers(rule: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    for name, value in rule.items():
        if isinstance(value, int | float):
            yield rule["kind"], name, float(value)
    for part in rule.get("of", ()):
        yield from _numbers(part)


def small_enough(name: str, margin: float = 0.15) -> Verdict:
    """Whether a correlation is equivalent to zero, by a rule instead of by judgement."""
    # The published intervals have a level of 95 %, which is that of two one-sided tests at 0.025.
    rule = Tost(kind="tost", estimand="r", margin=margin, alpha=0.025, rationale="as on the page")
    return judge(rule, {"r": correlation(name)})


def fisher_ends() -> dict[str, tuple[float, float]]:
    """Fisher intervals computed from each published r and n."""
    return {name: fisher_ci(row["r"], row["n"]) for name, row in PUBLISHED["correlations"].items()}


class Gap(NamedTuple):
    """The published criterion of separability, on the published intervals.

    Attributes:
        low_of: the time perturbation with the lowest lower end.
        high_of: the image perturbation with the highest upper end.
        printed: lower end minus upper end, as printed; the families are separable if it is positive.
        recomputed: the same from recomputed ends.
    """

    low_of: str
    high_of: str
    printed: float
    recomputed: float


def gap() -> Gap:
    """Gap between the extremes of the two families."""
    rows, families, ends = PUBLISHED["correlations"], PUBLISHED["families"], fisher_ends()
    low_of = min(families["time"], key=lambda name: rows[name]["low"])
    high_of = max(families["image"], key=lambda name: rows[name]["high"])
    return Gap(low_of, high_of, rows[low_of]["low"] - rows[high_of]["high"], ends[low_of][0] - ends[high_of][1])


class Dependence(NamedTuple):
    """How many independent pairs a criterion needs, and the largest dependence within clips that leaves so many.

    Attributes:
        pairs: smallest number of independent pairs per perturbation.
        within_clip: largest intra-class correlation of the products (x − mean)(y − mean) of one clip.
    """

    pairs: float
    within_clip: float


def dependence() -> dict[str, Dependence]:
    """For the two perturbations of `gap`: when intervals are apart, and when that of the difference excludes zero.

    Both use Fisher's z, with n pairs: the first needs Δz > 2 · 1.96/√(n − 3), the second Δz > 1.96 · √(2/(n − 3)).
    """
    one, other = (PUBLISHED["correlations"][name] for name in gap()[:2])
    apart = math.atanh(one["r"]) - math.atanh(other["r"])
    needed = {"intervals apart": 3 + (2 * Z / apart) ** 2, "difference": 3 + 2 * (Z / apart) ** 2}
    per_clip = one["n"] / PUBLISHED["correlated_clips"]
    return {name: Dependence(n, (one["n"] / n - 1) / (per_clip - 1)) for name, n in needed.items()}


class Scaling(NamedTuple):
    """Pooled half-widths of the scaling curves.

    Attributes:
        implied: half-width that the smallest jump implies, from its size in M2 and in half-widths.
        independent, equal: half-width that the median of cell means implies, if the strengths of a clip are
            independent, or equal.
    """

    implied: float
    independent: float
    equal: float


def scaling() -> Scaling:
    """The half-width that was published in effect, and those that cell means imply."""
    found, median = PUBLISHED["scaling"], PUBLISHED["half_width_of_cell_means"]["median"]
    equal = math.sqrt(2) * median
    independent = equal / math.sqrt(PUBLISHED["noise_above_drops"]["strengths"])
    return Scaling(found["smallest_upward_jump"] / found["in_half_widths"], independent, equal)


class Reversal(NamedTuple):
    """M2 under reversal on DAVIS against SSv2.

    Attributes:
        low, high: 95 % interval of the mean on DAVIS, from its standard deviation.
        largest_sd: by published mean on SSv2, the largest standard deviation between clips for which its interval
            does not overlap that of DAVIS.
        sd_of_cells: standard deviation between clips that the median half-width of cell means implies.
    """

    low: float
    high: float
    largest_sd: dict[float, float]
    sd_of_cells: float


def reversal() -> Reversal:
    """What the published numbers say about "non-overlapping" intervals."""
    davis, root = PUBLISHED["reverse_M2_davis"], math.sqrt(PUBLISHED["ssv2_clips"])
    half = Z * davis["sd"] / math.sqrt(davis["n"])
    low, high = davis["mean"] - half, davis["mean"] + half
    largest = {mean: (mean - high) * root / Z for mean in PUBLISHED["reverse_M2"]}
    return Reversal(low, high, largest, PUBLISHED["half_width_of_cell_means"]["median"] * root / Z)
