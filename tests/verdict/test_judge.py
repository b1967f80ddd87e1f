"""Rules: exactly one verdict for every estimate; borders; combinations against a table of truth."""

import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vjepa_stress.prereg.rules import AllOf, AnyOf, Band, Count, Rule, Threshold
from vjepa_stress.verdict.estimate import Estimate
from vjepa_stress.verdict.judge import judge, worst

RULE: TypeAdapter[Rule] = TypeAdapter(Rule)
NUMBERS = st.floats(-10, 10, allow_nan=False)


def estimate(low: float, value: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=10, method="given")


UNDEFINED = Estimate(value=None, low=None, high=None, n=0, method="given", note="no clip")


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
    assert "[0.9, 1.4]" in verdict.clause


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
    kinds = ["band", "threshold"] + (["count", "all_of", "any_of"] if depth else [])
    kind, name = draw(st.sampled_from(kinds)), draw(st.sampled_from("xyz"))
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


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    low, value, high = sorted((draw(NUMBERS), draw(NUMBERS), draw(NUMBERS)))
    return estimate(low, value, high)


@given(rules(), estimates(), estimates(), estimates())
def test_every_rule_says_exactly_one_thing(rule: Rule, x: Estimate, y: Estimate, z: Estimate) -> None:
    seen = {"x": x, "y": y, "z": z}
    verdict = judge(rule, seen)
    assert verdict.outcome in {"confirmed", "ambiguous", "refuted"}
    assert verdict.clause
    assert judge(rule, seen) == verdict
    assert judge(RULE.validate_json(RULE.dump_json(rule)), seen) == verdict


@given(rules())
def test_an_undefined_estimate_is_no_region(rule: Rule) -> None:
    assert judge(rule, {"x": UNDEFINED, "y": UNDEFINED, "z": UNDEFINED}).outcome == "not-evaluable"


@given(NUMBERS, NUMBERS, estimates())
def test_a_narrower_interval_never_turns_a_verdict_around(low: float, high: float, seen: Estimate) -> None:
    rule = band(*sorted((low, high)))
    point = estimate(seen.value or 0, seen.value or 0, seen.value or 0)
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


@pytest.mark.parametrize(("confirm", "refute", "text"), [(1, 1, "sum to more than 2"), (3, 2, "never be reached")])
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
