"""What `check` refuses, warns of and suggests; and that it is right about what can be reached."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.verdict import sketch
from tests.verdict.test_judge import estimates, rules
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.report import words
from vjepa_stress.rules import Rule
from vjepa_stress.rules.monotone_pooled import MonotonePooled
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.verdict.check import LEAST_SOURCES, Finding, check, check_rule
from vjepa_stress.verdict.judge import judge

MODELS = ("base", "large", "giant")
CELLS = sketch.cells(["clips"], MODELS, ["noise", "blur"], (0.2, 0.6, 1.0)) + sketch.cells(
    ["clips"], MODELS, ["reverse", "hflip", "identity"]
)
NOISE = {"statistic": "mean", "metric": "M2", "where": {"perturbation": ["noise"]}}
TREND = {"statistic": "trend", "along": "strength", "metric": "M2", "where": {"perturbation": ["noise"]}}
RATIO = {
    "statistic": "ratio_of_means",
    "metric": "M2",
    "numerator": {"perturbation": ["noise"]},
    "denominator": {"perturbation": ["blur"]},
}
JUMPS = {
    "statistic": "jumps",
    "metric": "M2",
    "along": "model",
    "levels": list(MODELS),
    "where": {"perturbation": ["noise"]},
}
TWINS = {"statistic": "pearson", "x": "M2", "y": "M2a"}
FLOOR = {"statistic": "maximum", "metric": "M2", "where": {"perturbation": ["identity"]}}

RISES = {"kind": "trend", "estimand": "x", "order": "rising", "confirm_at": 0.9, "refute_at": 0.5, "smallest": 0.05}
FALLS = {"kind": "monotone", "estimand": "x", "order": "falling", "smallest": 0.1, "tolerance": 0.05}
POOLED = {"kind": "monotone_pooled", "estimand": "x", "order": "falling", "noise": 2}


def rows(**condition: float) -> dict[str, Any]:
    """The mean of M2 over rows with such an M2."""
    return {**NOISE, "where": {"perturbation": ["noise"], "rows": [{"column": "M2", **condition}]}}


def moved(metric: str, perturbation: str) -> dict[str, Any]:
    return {"statistic": "mean", "metric": metric, "where": {"perturbation": [perturbation]}}


def draft(
    estimands: dict[str, Any], rule: dict[str, Any], clips: int = 200, sources: int | None = None, **more: Any
) -> Preregistration:
    design = sketch.design(sorted_cells(), clips={"clips": clips}, sources={"clips": sources or clips})
    for name, correspondence in (("reverse", "time-reversed"), ("hflip", "mirrored")):
        design["perturbations"][name]["correspondence"] = correspondence
    design["metrics"]["M2"] |= {"columns": ("M2", "M2a"), "aligned": {"M2": "M2a"}}
    return sketch.document(design, [sketch.hypothesis("H1", estimands, rule)], **more)


def sorted_cells() -> list[dict[str, Any]]:
    return list(CELLS)


def codes(document: Preregistration, severity: str) -> set[str]:
    """Codes of findings, except that scenarios are missing, which is another file's subject."""
    found = {finding.code for finding in check(document) if finding.severity == severity}
    return found - {"no-scenarios"}


def blocking(document: Preregistration) -> set[str]:
    """Codes of blocking findings, except that scenarios are missing."""
    return {finding.code for finding in check(document) if finding.blocks} - {"no-scenarios"}


def band(low: float, high: float, name: str = "x") -> dict[str, Any]:
    return {"kind": "band", "estimand": name, "low": low, "high": high}


def above(confirm_at: float, refute_at: float, use: str = "interval", name: str = "x") -> dict[str, Any]:
    return sketch.threshold(name, confirm_at, refute_at, use)


@pytest.mark.parametrize(
    ("estimand", "rule", "code"),
    [
        (NOISE, band(0, 2), "vacuous"),  # the whole range of M2
        (NOISE, above(0, 0), "vacuous"),
        (FLOOR, above(0, 0), "vacuous"),
        (NOISE, above(2, 0), "unreachable"),  # nothing lies below 0
        (NOISE, band(0.5, 2.5), "out-of-range"),
        (NOISE, above(3, 1), "out-of-range"),
        (RATIO, above(1.2, -1), "out-of-range"),
        (NOISE, {"kind": "tost", "estimand": "x", "margin": 2.5, "alpha": 0.025}, "out-of-range"),
        (NOISE, {"kind": "all_of", "of": [band(0.1, 0.2), band(0.5, 0.6)]}, "unreachable"),  # never confirmed
        (NOISE, {"kind": "any_of", "of": [above(0.5, 0.5, "point"), band(0, 0.5)]}, "unreachable"),  # never refuted
        ({**TREND, "where": {"strength": [0.2, 1.0]}}, RISES, "too-few-levels"),
        (rows(at_most=0.1), above(0.5, 0.3), "out-of-range"),
        (rows(at_least=0.6), above(0.6, 0.6), "vacuous"),
        (rows(equals=1.0), band(1.0, 1.0), "vacuous"),
        (rows(at_least=2.5), above(0.5, 0.3), "no-row"),
        ({**TWINS, "where": {"perturbation": ["noise"]}}, above(0.5, 0.3), "same-number"),
    ],
)
def test_rules_that_cannot_decide(estimand: dict[str, Any], rule: dict[str, Any], code: str) -> None:
    document = draft({"x": estimand}, rule)
    assert code in codes(document, "error")
    assert blocking(document)


@pytest.mark.parametrize(
    ("estimand", "rule"),
    [
        (NOISE, band(0.9, 1.4)),
        (NOISE, above(0.5, 0.3)),
        (TREND, RISES),
        (RATIO, above(1.2, 1.0)),
        (NOISE, {"kind": "tost", "estimand": "x", "margin": 0.15, "alpha": 0.025}),
        (JUMPS, FALLS),
        ({**JUMPS, "interval": "pooled"}, POOLED),
        (FLOOR, {**above(1e-6, 1e-6, "point"), "direction": "below"}),
    ],
)
def test_rules_that_can(estimand: dict[str, Any], rule: dict[str, Any]) -> None:
    assert not codes(draft({"x": estimand}, rule), "error")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({**above(0.3, 0.5)}, "overlap"),
        ({**band(1.4, 0.9)}, "no estimate could be confirmed"),
        ({"kind": "count", "of": [band(0, 1)] * 2, "confirm_at_least": 1, "refute_at_least": 1}, "sum to more"),
        # A gap: what is short of confirm_at has no verdict.
        ({k: v for k, v in above(0.5, 0.3).items() if k != "refute_at"}, "refute_at"),
        ({"kind": "any_of", "of": []}, "at least 1"),
        (above(0.5, 0.3, name="y"), "not an estimand"),
        (
            FALLS,
            r"monotone reads a curve, but H1\.x \(mean, interval expanded\) is a number",
        ),
    ],
)
def test_rules_that_are_none(rule: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        draft({"x": NOISE}, rule)


def test_one_number_under_two_names_is_one_number() -> None:
    same = {**NOISE, "where": {"perturbation": ["noise"], "model": list(MODELS)}}
    rule = {"kind": "all_of", "of": [band(0.1, 0.2), band(0.5, 0.6, "y")]}
    assert "unreachable" in codes(draft({"x": NOISE, "y": same}, rule), "error")
    assert not codes(draft({"x": NOISE, "y": {**same, "metric": "M1"}}, rule), "error")


@pytest.mark.parametrize(
    ("estimand", "rule"),
    [
        (
            {**NOISE, "where": {"perturbation": ["noise"], "rows": [{"column": "M1", "at_least": 0.6}]}},
            above(1.2, 0.8),
        ),
        ({**TWINS, "where": {"perturbation": ["hflip"]}}, above(0.5, 0.3)),
        ({**TWINS, "y": "M1", "where": {"perturbation": ["noise"]}}, above(0.5, 0.3)),
    ],
)
def test_conditions_and_twins_that_can_decide(estimand: dict[str, Any], rule: dict[str, Any]) -> None:
    assert not codes(draft({"x": estimand}, rule), "error")


def test_a_ratio_of_the_same_cells_is_none() -> None:
    with pytest.raises(ValidationError, match="ratio is 1"):
        draft({"x": {**RATIO, "denominator": {"perturbation": ["noise"], "model": list(MODELS)}}}, above(1.2, 1.0))


def test_unknown_cells_and_double_ids() -> None:
    with pytest.raises(ValidationError, match="selects no cell"):
        draft({"x": moved("M2", "fog")}, band(0, 1))
    one = sketch.hypothesis("H1", {"x": NOISE}, above(0.5, 0.3))
    with pytest.raises(ValidationError, match="duplicate hypothesis id 'H1'"):
        sketch.document(sketch.design(sorted_cells(), clips={"clips": 20}), [one, one])


@pytest.mark.parametrize(("metric", "perturbation"), [("M1", "reverse"), ("M2", "hflip")])
def test_positions_that_moved_must_be_acknowledged(metric: str, perturbation: str) -> None:
    estimands, rule = {"x": moved(metric, perturbation)}, above(0.5, 0.3)
    assert codes(draft(estimands, rule), "warning") == {"moved-positions"}
    known = {"warning": "moved-positions", "hypothesis": "H1", "estimand": "x", "reason": "it is what was published"}
    document = draft(estimands, rule, acknowledged=[known])
    assert not blocking(document)
    (finding,) = [finding for finding in check(document) if finding.severity == "acknowledged"]
    assert finding.values["reason"] == "it is what was published"
    assert "Acknowledged: it is what was published" in words.finding(finding)
    assert document.model_dump(mode="json")["acknowledged"] == [known]
    with pytest.raises(ValidationError, match=r"unknown estimand H1\.y"):
        draft(estimands, rule, acknowledged=[{**known, "estimand": "y"}])


def test_too_few_clips_for_a_narrow_band() -> None:
    assert codes(draft({"x": NOISE}, band(0.50, 0.51), clips=2), "warning") == {"too-few-clips"}
    assert not codes(draft({"x": NOISE}, band(0.3, 0.7), clips=200), "warning")


def test_rules_read_no_intervals_of_few_sources() -> None:
    def found(rule: dict[str, Any], clips: int, sources: int, estimand: dict[str, Any] = NOISE) -> list[Finding]:
        document = draft({"x": estimand}, rule, clips, sources)
        return [finding for finding in check(document) if finding.code == "too-few-sources"]

    (few,) = found(above(0.5, 0.3), 200, LEAST_SOURCES - 1)
    assert few.blocks
    assert words.finding(few) == (
        f"error (too-few-sources) H1.x: the rule reads its interval, but clips has {LEAST_SOURCES - 1} sources, and "
        f"intervals need at least {LEAST_SOURCES}: use more sources, or leave clips out of the rule; a report shows "
        "it as a case study"
    )
    assert not found(above(0.5, 0.3), 200, LEAST_SOURCES)
    assert not found(above(0.5, 0.3, "point"), 9, 9)
    assert not found({**above(1e-6, 1e-6), "direction": "below"}, 9, 9, FLOOR)  # a maximum has no interval
    assert found({"kind": "any_of", "of": [above(0.5, 0.3, "point"), above(0.5, 0.3)]}, 9, 9)


def test_every_stratum_needs_enough_sources() -> None:
    cells = sketch.cells(["many", "few"], ["base"], ["noise"], (0.2, 0.6))

    def found(where: dict[str, Any]) -> list[Finding]:
        estimands = {"x": {"statistic": "mean", "metric": "M2", "where": where}}
        design = sketch.design(cells, clips={"many": 100, "few": 100}, sources={"many": 100, "few": 2})
        return list(check(sketch.document(design, [sketch.hypothesis("H1", estimands, above(0.5, 0.3))])))

    (few,) = (finding for finding in found({}) if finding.code == "too-few-sources")
    assert (few.severity, few.values["stratum"], few.values["sources"]) == ("error", "few", 2)
    assert not any(finding.code == "too-few-sources" for finding in found({"dataset": ["many"]}))


def test_the_numbers_of_clips_and_sources_in_words() -> None:
    design = draft({"x": NOISE}, above(0.5, 0.3, "point"), 6, 2).design
    assert words.stratum("clips", design) == (
        "clips has 6 clips of 2 sources: a case study, because intervals need 30 sources"
    )
    assert words.stratum("clips", draft({"x": NOISE}, above(0.5, 0.3)).design) == "clips has 200 clips of 200 sources"


def test_a_rule_is_not_deeper_than_anybody_can_read() -> None:
    rule = above(0.5, 0.3)
    for _ in range(20):
        rule = {"kind": "any_of", "of": [rule]}
    with pytest.raises(ValidationError, match="21 levels"):
        draft({"x": NOISE}, rule)


def test_suggestions_do_not_block() -> None:
    document = draft({"x": NOISE}, above(0.5, 0.3))
    assert {"no-control", "no-calibration"} <= codes(document, "suggestion")
    assert not blocking(document)


def test_few_alternatives_are_a_suggestion() -> None:
    document = draft({"x": NOISE}, above(0.5, 0.3))
    several = tuple(Alternative(name=f"seed_{n}", seed=n) for n in range(5))
    for n in range(6):
        changed = document.model_copy(update={"sensitivity": several[:n]})
        assert ("few-alternatives" in codes(changed, "suggestion")) == (n < 5)
    gates = tuple(one.model_copy(update={"family": "calibration"}) for one in document.hypotheses)
    assert "few-alternatives" not in codes(document.model_copy(update={"hypotheses": gates}), "suggestion")


def wide(seen: Estimate) -> Estimate:
    """Any estimate, squeezed into the range of M2."""
    squeezed = {name: (getattr(seen, name) + 10) / 10 for name in ("low", "value", "high")}
    return seen.model_copy(update=squeezed)


def of_its_own(name: str, curve: bool) -> dict[str, Any]:
    """An estimand that no other name stands for: two names of one number cannot differ."""
    where = {"perturbation": ["noise"], "strength": [{"x": 0.2, "y": 0.6, "z": 1.0}[name]]}
    return {**({**JUMPS, "interval": "pooled"} if curve else NOISE), "where": where}


@settings(max_examples=150, deadline=None)
@given(rules(depth=1), st.lists(st.tuples(estimates(), estimates(), estimates()), min_size=1, max_size=5))
def test_what_is_called_unreachable_is_never_reached(
    rule: Rule, seen: list[tuple[Estimate, Estimate, Estimate]]
) -> None:
    used = {leaf.estimand for leaf in rule.leaves()}
    curves = {leaf.estimand for leaf in rule.leaves() if isinstance(leaf, MonotonePooled)}
    flat = {leaf.estimand for leaf in rule.leaves() if not isinstance(leaf, MonotonePooled)}
    if curves & flat:
        return  # no document has such a rule
    document = draft({name: of_its_own(name, name in curves) for name in used}, rule.model_dump())
    found = list(check_rule(document.hypotheses[0], document.design))
    impossible = {finding.values["outcome"] for finding in found if finding.code == "unreachable"}
    only = {finding.values["outcome"] for finding in found if finding.code == "vacuous"}
    for three in seen:
        outcome = judge(rule, {name: wide(one) for name, one in zip("xyz", three, strict=True)}).outcome
        assert outcome not in impossible
        assert not only or only == {outcome}
