"""Rules: exactly one verdict for every estimate; borders; combinations against a table of truth."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vjepa_stress.report import words
from vjepa_stress.report.words import explain
from vjepa_stress.rules import AnyRule, LeafRule, Rule
from vjepa_stress.rules.all_of import AllOf
from vjepa_stress.rules.any_of import AnyOf
from vjepa_stress.rules.band import Band
from vjepa_stress.rules.count import Count
from vjepa_stress.rules.monotone_pooled import MonotonePooled
from vjepa_stress.rules.threshold import Threshold
from vjepa_stress.rules.tost import Tost
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, Step
from vjepa_stress.verdict.judge import Verdict, judge, worst

RULE: TypeAdapter[Rule] = TypeAdapter(AnyRule)
# Some numbers meet often, so that borders are hit exactly.
NUMBERS = st.one_of(st.floats(-10, 10, allow_nan=False), st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]))


def estimate(low: float, value: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=10, method="none")


UNDEFINED = Estimate(value=None, low=None, high=None, n=0, method="none", notes=(Note(code="no-value"),))


def band(low: float, high: float) -> Band:
    return Band(kind="band", estimand="x", low=low, high=high)


def threshold(direction: str, confirm_at: float, refute_at: float, use: str = "point", name: str = "x") -> Threshold:
    fields = {"direction": direction, "confirm_at": confirm_at, "refute_at": refute_at, "use": use}
    return Threshold.model_validate({"kind": "threshold", "estimand": name, **fields})


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.4, "confirmed"),  # the band's own borders belong to it
        (1.0, 1.2, "confirmed"),
        (0.899, 1.0, "ambiguous"),
        (1.0, 1.401, "ambiguous"),
        (0.5, 2.0, "ambiguous"),
        (0.5, 0.9, "ambiguous"),  # touching is not disjoint
        (1.4, 2.0, "ambiguous"),
        (0.5, 0.899, "refuted"),
        (1.401, 2.0, "refuted"),
    ],
)
def test_band(low: float, high: float, expected: str) -> None:
    verdict = judge(band(0.9, 1.4), {"x": estimate(low, (low + high) / 2, high)})
    assert verdict.outcome == expected
    assert verdict.numbers == {"low": 0.9, "high": 1.4}
    assert "[0.9, 1.4]" in words.clause(verdict)


@pytest.mark.parametrize(
    ("rule", "seen", "expected"),
    [
        (threshold("above", 0.9, 0.5), (0.0, 0.9, 1.0), "confirmed"),
        (threshold("above", 0.9, 0.5), (0.0, 0.8999, 1.0), "ambiguous"),
        (threshold("above", 0.9, 0.5), (0.0, 0.5, 1.0), "ambiguous"),
        (threshold("above", 0.9, 0.5), (0.0, 0.4999, 1.0), "refuted"),
        (threshold("above", 0.9, 0.5, "interval"), (0.9, 0.95, 1.0), "confirmed"),
        (threshold("above", 0.9, 0.5, "interval"), (0.8, 0.95, 1.0), "ambiguous"),
        (threshold("above", 0.9, 0.5, "interval"), (0.1, 0.2, 0.5), "ambiguous"),
        (threshold("above", 0.9, 0.5, "interval"), (0.1, 0.2, 0.4), "refuted"),
        (threshold("below", 0.3, 0.3, "interval"), (0.1, 0.2, 0.3), "confirmed"),
        (threshold("below", 0.3, 0.3, "interval"), (0.2, 0.3, 0.4), "ambiguous"),
        (threshold("below", 0.3, 0.3, "interval"), (0.31, 0.4, 0.5), "refuted"),
        (threshold("below", 1e-6, 1e-6), (0.0, 1e-6, 0.0), "confirmed"),
        (threshold("below", 1e-6, 1e-6), (0.0, 1.1e-6, 0.0), "refuted"),
    ],
)
def test_threshold(rule: Threshold, seen: tuple[float, float, float], expected: str) -> None:
    assert judge(rule, {"x": estimate(*seen)}).outcome == expected


CERTAIN = {"confirmed": 1.0, "ambiguous": 0.5, "refuted": 0.0}


def combined(kind: str, outcomes: tuple[str, ...], **more: int) -> str:
    """Judge a combination of sub-rules that are known to give these outcomes."""
    parts = [threshold("above", 0.9, 0.1, name=f"x{n}").model_dump() for n in range(len(outcomes))]
    rule = RULE.validate_python({"kind": kind, "of": parts, **more})
    values = {f"x{n}": estimate(CERTAIN[o], CERTAIN[o], CERTAIN[o]) for n, o in enumerate(outcomes)}
    verdict = judge(rule, values)
    assert tuple(part.outcome for part in verdict.parts) == outcomes
    return verdict.outcome


@pytest.mark.parametrize("outcomes", list(product(CERTAIN, repeat=3)))
def test_combinations(outcomes: tuple[str, ...]) -> None:
    all_of = "refuted" if "refuted" in outcomes else "ambiguous" if "ambiguous" in outcomes else "confirmed"
    any_of = "confirmed" if "confirmed" in outcomes else "ambiguous" if "ambiguous" in outcomes else "refuted"
    assert combined("all_of", outcomes) == all_of
    assert combined("any_of", outcomes) == any_of
    for confirm, refute in ((2, 2), (3, 1), (1, 3), (3, 3)):
        expected = "ambiguous"
        if outcomes.count("confirmed") >= confirm:
            expected = "confirmed"
        if outcomes.count("refuted") >= refute:
            assert expected == "ambiguous"  # the two are never reached together
            expected = "refuted"
        assert combined("count", outcomes, confirm_at_least=confirm, refute_at_least=refute) == expected


@st.composite
def rules(draw: st.DrawFn, depth: int = 2) -> Rule:
    """Any rule over the estimands x, y and z."""
    kinds = ["band", "threshold", "tost", "monotone_pooled"] + (["count", "all_of", "any_of"] if depth else [])
    kind, name = draw(st.sampled_from(kinds)), draw(st.sampled_from("xyz"))
    if kind == "tost":
        return Tost(kind="tost", estimand=name, margin=draw(st.floats(0.1, 5)), alpha=draw(st.floats(0.001, 0.499)))
    if kind == "monotone_pooled":
        fields = {
            "order": draw(st.sampled_from(["falling", "rising"])),
            "noise": draw(st.sampled_from([0.5, 1.0, 2.0])),
        }
        return MonotonePooled.model_validate({"kind": "monotone_pooled", "estimand": name, **fields})
    low, high = sorted((draw(NUMBERS), draw(NUMBERS)))
    if kind == "band":
        return Band(kind="band", estimand=name, low=low, high=high)
    if kind == "threshold":
        direction = draw(st.sampled_from(["above", "below"]))
        confirm_at, refute_at = (high, low) if direction == "above" else (low, high)
        return threshold(direction, confirm_at, refute_at, draw(st.sampled_from(["point", "interval"])), name)
    parts = tuple(draw(st.lists(rules(depth=depth - 1), min_size=1, max_size=4)))
    if kind == "count":
        confirm = draw(st.integers(1, len(parts)))
        refute = draw(st.integers(len(parts) - confirm + 1, len(parts)))
        return Count(kind="count", of=parts, confirm_at_least=confirm, refute_at_least=refute)
    return AllOf(kind="all_of", of=parts) if kind == "all_of" else AnyOf(kind="any_of", of=parts)


def step(value: float, half_width: float) -> Step:
    return Step(value=value, half_width=half_width, low=None, high=None, n=10)


def curve(changes: Sequence[float], overall: float, half_width: float = 1.0) -> Estimate:
    """An estimate of jumps."""
    steps = tuple(step(change, half_width) for change in changes)
    whole = step(overall, half_width)
    return estimate(overall, overall, overall).model_copy(update={"steps": steps, "overall": whole})


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    """Any estimate; a point may lie outside its interval, as with skewed bootstraps."""
    low, high = sorted((draw(NUMBERS), draw(NUMBERS)))
    steps = curve(
        draw(st.lists(NUMBERS, min_size=1, max_size=3)), draw(NUMBERS), draw(st.sampled_from([0.0, 0.5, 1.0]))
    )
    return steps.model_copy(update={"low": low, "value": draw(NUMBERS), "high": high})


def defined_regions(rule: Rule, seen: dict[str, Estimate]) -> dict[str, bool]:
    """The three regions, each by its own definition, without deriving one from another."""
    if isinstance(rule, Count | AllOf | AnyOf):
        said = [[name for name, true in defined_regions(part, seen).items() if true] for part in rule.of]
        assert all(len(names) == 1 for names in said)
        outcomes = [names[0] for names in said]
        yes, no, n = outcomes.count("confirmed"), outcomes.count("refuted"), len(outcomes)
        if isinstance(rule, AllOf):
            return {"confirmed": yes == n, "refuted": no >= 1, "ambiguous": no == 0 and yes < n}
        if isinstance(rule, AnyOf):
            return {"confirmed": yes >= 1, "refuted": no == n, "ambiguous": yes == 0 and no < n}
        enough, few = yes >= rule.confirm_at_least, no >= rule.refute_at_least
        return {"confirmed": enough, "refuted": few, "ambiguous": not enough and not few}
    assert isinstance(rule, LeafRule)
    one = seen[rule.estimand]
    assert one.low is not None
    assert one.value is not None
    assert one.high is not None
    assert one.overall is not None
    if isinstance(rule, MonotonePooled):
        sign = -1 if rule.order == "falling" else 1
        worst_step = max(-sign * part.value - rule.noise * (part.half_width or 0.0) for part in one.steps)
        gain = sign * one.overall.value - rule.noise * (one.overall.half_width or 0.0)
        return {
            "confirmed": worst_step <= 0 and gain > 0,
            "refuted": worst_step > 0,
            "ambiguous": worst_step <= 0 and gain <= 0,
        }
    if isinstance(rule, Threshold):
        low, high = (one.value, one.value) if rule.use == "point" else (one.low, one.high)
        sign = 1 if rule.direction == "above" else -1
        near, far = sorted((sign * low, sign * high))
        confirm_at, refute_at = sign * rule.confirm_at, sign * rule.refute_at
        return {
            "confirmed": near >= confirm_at,
            "refuted": far < refute_at,
            "ambiguous": near < confirm_at and far >= refute_at,
        }
    assert isinstance(rule, Band | Tost)
    bottom, top = (rule.low, rule.high) if isinstance(rule, Band) else (-rule.margin, rule.margin)
    inside = bottom <= one.low <= one.high <= top
    meets = max(bottom, one.low) <= min(top, one.high)
    return {"confirmed": inside, "refuted": not meets, "ambiguous": meets and not inside}


@settings(max_examples=400)
@given(rules(), estimates(), estimates(), estimates())
def test_every_rule_says_exactly_one_thing(rule: Rule, x: Estimate, y: Estimate, z: Estimate) -> None:
    seen = {"x": x, "y": y, "z": z}
    verdict = judge(rule, seen)
    assert [name for name, true in defined_regions(rule, seen).items() if true] == [verdict.outcome]
    assert verdict.clause
    assert judge(rule, seen) == verdict
    assert judge(RULE.validate_json(RULE.dump_json(rule)), seen) == verdict
    lines = explain(verdict, seen).splitlines()
    assert lines[0].startswith(f"{verdict.outcome}, {words.clause(verdict)}")
    assert len(lines) == 1 + sum(1 for _ in below(verdict))


def below(verdict: Verdict) -> Iterator[Verdict]:
    for part in verdict.parts:
        yield part
        yield from below(part)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.15, 0.15, "confirmed"),
        (-0.031, 0.128, "confirmed"),  # published for low light
        (-0.135, 0.025, "confirmed"),  # published for Gaussian noise
        (0.013, 0.171, "ambiguous"),  # published for motion blur: excludes zero, and is not small either
        (0.15, 0.2, "ambiguous"),
        (0.151, 0.2, "refuted"),
        (-0.2, -0.151, "refuted"),
        (-1, 1, "ambiguous"),
    ],
)
def test_tost(low: float, high: float, expected: str) -> None:
    rule = Tost(kind="tost", estimand="x", margin=0.15, alpha=0.05)
    assert judge(rule, {"x": estimate(low, (low + high) / 2, high)}).outcome == expected


@pytest.mark.parametrize(
    ("changes", "overall", "order", "expected"),
    [
        ((-3, -3, -3), -9, "falling", "confirmed"),
        ((3, 3, 3), 9, "rising", "confirmed"),
        ((-3, 2.0, -3), -4, "falling", "confirmed"),  # a jump at the noise is not above it
        ((-3, 2.1, -3), -3.9, "falling", "refuted"),
        ((0.5, 0.5, -0.5), 0.5, "falling", "ambiguous"),
        ((-1, -0.5, -0.5), -2, "falling", "ambiguous"),  # a fall at the noise is not above it
        ((0, 0, 0), 0, "rising", "ambiguous"),
        ((9, 9, -3), 15, "rising", "refuted"),
    ],
)
def test_monotone(
    changes: Sequence[float], overall: float, order: Literal["falling", "rising"], expected: str
) -> None:
    rule = MonotonePooled(kind="monotone_pooled", estimand="x", order=order, noise=2)
    verdict = judge(rule, {"x": curve(changes, overall)})
    assert verdict.outcome == expected
    assert verdict.numbers["noise"] == 2
    assert "2 pooled half-widths" in words.clause(verdict)


def test_explanations_have_words_and_numbers() -> None:
    rule = AllOf(kind="all_of", of=(band(0.9, 1.4), threshold("above", 1.2, 1.0, "interval", "y")))
    seen = {"x": estimate(1.0, 1.03, 1.1), "y": estimate(0.7, 0.8, 0.9)}
    assert explain(judge(rule, seen), seen, "{:.2f}".format).splitlines() == [
        "refuted, all_of: 1 confirmed and 1 refuted of 2 (confirmed needs all, refuted needs one)",
        "  confirmed, band: the interval of x is inside [0.9, 1.4]; x = 1.03 [1.00, 1.10], n = 10",
        "  refuted, threshold: the whole interval of y is below 1; y = 0.80 [0.70, 0.90], n = 10",
    ]


@given(rules())
def test_an_undefined_estimate_is_no_region(rule: Rule) -> None:
    assert judge(rule, {"x": UNDEFINED, "y": UNDEFINED, "z": UNDEFINED}).outcome == "not-evaluable"


@given(NUMBERS, NUMBERS, estimates())
def test_a_narrower_interval_never_turns_a_verdict_around(low: float, high: float, seen: Estimate) -> None:
    rule = band(*sorted((low, high)))
    assert seen.low is not None
    assert seen.high is not None
    middle = seen.low / 2 + seen.high / 2
    point = estimate(middle, middle, middle)
    wide, narrow = judge(rule, {"x": seen}).outcome, judge(rule, {"x": point}).outcome
    assert wide in {"ambiguous", narrow}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "band", "estimand": "x", "low": 2, "high": 1}, "above high"),
        ({"kind": "band", "estimand": "x", "low": math.nan, "high": 1}, "finite"),
        ({"kind": "all_of", "of": []}, "at least 1"),
        ({"kind": "any_of", "of": []}, "at least 1"),
        ({"kind": "none_of", "of": []}, "none_of"),
        ({"kind": "band", "estimand": "x", "low": 0, "high": 1, "hihg": 2}, "hihg"),
    ],
)
def test_rules_that_are_none(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        RULE.validate_python(fields)


@pytest.mark.parametrize(("confirm", "refute", "text"), [(1, 1, "sum to more than 2"), (3, 2, "cannot be reached")])
def test_counts_that_overlap_or_cannot_be_reached(confirm: int, refute: int, text: str) -> None:
    part = band(0, 1)
    with pytest.raises(ValidationError, match=text):
        Count(kind="count", of=(part, part), confirm_at_least=confirm, refute_at_least=refute)


@pytest.mark.parametrize("direction", ["above", "below"])
def test_thresholds_that_overlap(direction: str) -> None:
    with pytest.raises(ValidationError, match="overlap"):
        threshold(direction, 0.5 if direction == "above" else 0.9, 0.9 if direction == "above" else 0.5)


def test_exit_codes_have_an_order() -> None:
    assert worst(["confirmed", "withdrawn"]) == 0
    assert worst(["confirmed", "ambiguous"]) == 20
    assert worst(["ambiguous", "refuted"]) == 10
    assert worst(["refuted", "not-evaluable", "ambiguous"]) == 11
