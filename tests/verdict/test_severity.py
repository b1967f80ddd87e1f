"""Severity: at its border, an interval rule errs at its level, and a point rule half the time."""

import functools
import math
from typing import Any

import pytest
from scipy import stats

from tests.verdict import sketch
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import OperatingCharacteristics, Plan
from vjepa_stress.report import words
from vjepa_stress.report.simulated import severities
from vjepa_stress.verdict.check import check
from vjepa_stress.verdict.power import operating_characteristics

CLIPS = 40
STUDIES = 400
MODELS = ["base", "large", "giant"]
SD = 1.0
DESIGN = sketch.design(
    sketch.cells(["ssv2"], MODELS, ["noise"], [0.2, 0.6, 1.0]),
    clips={"ssv2": CLIPS},
    # So wide that values are as good as normal.
    metrics={"M1": (-1000, 1000), "M2": (-1000, 1000)},
)
WHERE = {"perturbation": ["noise"], "model": ["base"]}
CELL = {"statistic": "mean", "metric": "M1", "where": {**WHERE, "strength": [0.6]}}
OTHER = {**CELL, "metric": "M2"}
RISE = {"statistic": "trend", "metric": "M1", "along": "strength", "where": WHERE}
CURVE = {
    "statistic": "jumps",
    "metric": "M1",
    "along": "model",
    "levels": MODELS,
    "where": {"perturbation": ["noise"]},
}
PAIR = {"statistic": "pearson", "x": "M1", "y": "M2", "where": {**WHERE, "strength": [0.6]}}


def threshold(confirm_at: float, refute_at: float, use: str = "interval", of: str = "x") -> dict[str, Any]:
    return sketch.threshold(of, confirm_at, refute_at, use)


MONOTONE = {"estimand": "x", "order": "rising"}
RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "interval": ({"x": CELL}, threshold(5, 5)),
    "point": ({"x": CELL}, threshold(5, 5, "point")),
    "apart": ({"x": CELL}, threshold(5.2, 4.9, "point")),
    "band": ({"x": CELL}, {"kind": "band", "estimand": "x", "low": -30, "high": 8}),
    "tost": ({"x": CELL}, {"kind": "tost", "estimand": "x", "margin": 9, "alpha": 0.05}),
    "trend": ({"x": RISE}, {**MONOTONE, "kind": "trend", "confirm_at": 0.9, "refute_at": 0.5, "smallest": 2}),
    "monotone": (
        {"x": CURVE | {"interval": "max-t"}},
        {**MONOTONE, "kind": "monotone", "smallest": 2, "tolerance": 3},
    ),
    "pooled": ({"x": CURVE | {"interval": "pooled"}}, {**MONOTONE, "kind": "monotone_pooled", "noise": 2}),
    "pair": ({"x": PAIR}, threshold(0.3, 0.3)),
    "both": (
        {"x": CELL, "y": OTHER},
        {"kind": "all_of", "of": [threshold(5, 5, "point"), threshold(1, 1, "point", "y")]},
    ),
    "two_of_three": (
        {"x": CELL, "y": OTHER},
        {
            "kind": "count",
            "of": [threshold(5, 5), threshold(1, 1, of="y"), threshold(4, 3)],
            "confirm_at_least": 2,
            "refute_at_least": 2,
        },
    ),
}
GATE = sketch.hypothesis("C1", {"x": CELL}, threshold(900, 800, "point"), "calibration")


def plan() -> Plan:
    """Values rise with the strength and with the model, far from every border; the gate fails."""
    effects = [
        {"metric": "M1", "where": {"model": [model]}, "mean": 3.0 + 4 * n, "sd": SD, "slope": 10, "along": "strength"}
        for n, model in enumerate(MODELS)
    ]
    effects.append({"metric": "M2", "where": {}, "mean": 20, "sd": SD})
    dependence = dict.fromkeys(("M1", "M2"), dict.fromkeys(("model", "strength"), 0.3))
    world = {
        "kind": "given",
        "says": "…",
        "effects": effects,
        "dependence": dependence,
        "associations": [{"x": "M1", "y": "M2", "r": 0.6}],
        "expects": dict.fromkeys(RULES, "confirmed"),
    }
    few = {"studies": STUDIES, "null_studies": 50, "curve_studies": 50, "resamples": 1000, "seed": 4}
    return Plan.model_validate({"scenarios": {"claimed": world}, **few})


def document(**more: Any) -> Preregistration:
    hypotheses = [sketch.hypothesis(name, of, rule) for name, (of, rule) in RULES.items()]
    return sketch.document(DESIGN, [GATE, *hypotheses], **more)


@functools.cache
def simulated() -> OperatingCharacteristics:
    return operating_characteristics(document(), plan(), workers=2)


def chance(name: str, border: str, verdict: str) -> float:
    found = getattr(getattr(simulated().severity[name], border), verdict).p
    assert isinstance(found, float)
    return found


BORDERS = ("at_refuting", "at_confirming")


@pytest.mark.parametrize("name", ["interval", "band", "trend", "pair"])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("verdict", ["confirmed", "refuted"])
def test_an_interval_rule_errs_at_its_level(name: str, border: str, verdict: str) -> None:
    """2.5 % of one end of a 95 % interval, far from the claimed truth, where it is always confirmed."""
    assert 0.002 < chance(name, border, verdict) < 0.07


def test_tost_has_its_own_level() -> None:
    for border in BORDERS:
        assert 0.02 < chance("tost", border, "confirmed") < 0.12


def test_a_simultaneous_interval_errs_less() -> None:
    for border in BORDERS:
        assert chance("monotone", border, "confirmed") < 0.04
        assert chance("monotone", border, "refuted") < 0.04


@pytest.mark.parametrize("name", ["point", "pooled"])
def test_a_point_rule_is_confirmed_half_the_time(name: str) -> None:
    for border in BORDERS:
        assert chance(name, border, "confirmed") == pytest.approx(0.5, abs=0.1)


def test_points_of_borders_that_differ_have_a_closed_form() -> None:
    distance = 0.3 * math.sqrt(CLIPS) / SD
    for border, verdict in zip(BORDERS, ("confirmed", "refuted"), strict=True):
        assert chance("apart", border, verdict) == pytest.approx(stats.norm.sf(distance), abs=0.05)
    for border, verdict in zip(BORDERS, ("refuted", "confirmed"), strict=True):
        assert chance("apart", border, verdict) == pytest.approx(0.5, abs=0.1)


def test_every_part_is_at_its_own_border() -> None:
    """Two values with a correlation r are both above their truths with probability 1/4 + asin(r) / 2π."""
    both = 0.25 + math.asin(0.6) / (2 * math.pi)
    for border in BORDERS:
        assert chance("both", border, "confirmed") == pytest.approx(both, abs=0.1)
        assert chance("both", border, "refuted") == pytest.approx(1 - both, abs=0.1)


def test_a_count_errs_at_its_level() -> None:
    """Two of three parts at α/2 each, so that the rule errs at 2.5 % or less, within Monte-Carlo error."""
    assert chance("two_of_three", "at_refuting", "confirmed") < 0.05
    assert chance("two_of_three", "at_confirming", "refuted") < 0.05


def test_gates_count_as_passed_and_have_no_severity() -> None:
    assert simulated().chances["claimed"]["interval"].not_evaluable.p == 1
    assert list(simulated().severity) == list(RULES)
    assert simulated().severity["interval"].at_refuting.not_evaluable.p == 0


def test_the_table_has_both_errors() -> None:
    rows = {name: shares for name, *shares in severities(simulated())}
    expected = [
        chance("apart", border, verdict) for border, verdict in zip(BORDERS, ("confirmed", "refuted"), strict=True)
    ]
    assert [share.split("%")[0] for share in rows["apart"]] == [f"{100 * p:.1f}" for p in expected]


def test_rules_that_are_not_severe_are_named() -> None:
    found = check(document(operating_characteristics=simulated().model_dump(mode="json")))
    named = {one.where: one for one in found if one.code == "not-severe"}
    # A rule that reads values says so. One that compares values with half-widths looks as if it read intervals. The
    # level of the test of equivalence is the cap.
    assert set(named) - {"tost"} == {"pooled"}
    assert named["pooled"].severity == "suggestion"
    assert "border" in words.finding(named["pooled"])


def test_a_refutation_that_is_rare_is_named() -> None:
    scenarios = simulated().scenarios
    twice = {**scenarios, "near": scenarios["claimed"].model_copy(update={"expects": {"point": "refuted"}})}
    chances = {**simulated().chances, "near": simulated().chances["claimed"]}
    found = simulated().model_copy(update={"scenarios": twice, "chances": chances}).model_dump(mode="json")
    (named,) = (one for one in check(document(operating_characteristics=found)) if one.code == "rarely-refuted")
    assert (named.where, named.severity) == ("point", "suggestion")
    assert "near" in words.finding(named)
