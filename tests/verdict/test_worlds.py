"""Worlds that need no author, dependence by factor, and rules that cannot fail."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from tests.verdict import sketch
from vjepa_stress.design.video import VideoDesign
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import Given, OperatingCharacteristics, Plan
from vjepa_stress.report import words
from vjepa_stress.verdict.author_free import Dose, Noise, Shuffled
from vjepa_stress.verdict.check import Finding, check
from vjepa_stress.verdict.dependence import cell_correlations, estimate_dependence
from vjepa_stress.verdict.needed import Needed
from vjepa_stress.verdict.power import operating_characteristics
from vjepa_stress.verdict.worlds import GivenWorld, skeleton

MODELS = ["base", "large", "giant"]
STRENGTHS = [0.2, 0.6, 1.0]
DEPENDENCE = {"model": 0.9, "perturbation": 0.1, "strength": 0.6}
CLIPS = 30
DESIGN = sketch.design(
    sketch.cells(["clips"], MODELS, ["noise", "blur"], STRENGTHS) + sketch.cells(["clips"], MODELS, ["identity"]),
    clips={"clips": CLIPS},
)


def where(**levels: Any) -> dict[str, Any]:
    return {name: level if isinstance(level, list) else [level] for name, level in levels.items()}


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"statistic": "difference", "metric": "M2", "of": one, "minus": other}


def ratio(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"statistic": "ratio_of_means", "metric": "M2", "numerator": one, "denominator": other}


def point(at: float, name: str = "x") -> dict[str, Any]:
    return sketch.threshold(name, at, at, "point")


def any_of(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "any_of", "of": list(parts)}


def effect(metric: str, mean: float, slope: float = 0.0, **levels: Any) -> dict[str, Any]:
    along = {"slope": slope, "along": "strength"} if slope else {}
    return {"metric": metric, "where": where(**levels), "mean": mean, "sd": 0.15, **along}


def given(noise: float, blur: float, expects: dict[str, str], **more: Any) -> dict[str, Any]:
    """Noise rises with the strength as much as it is above blur."""
    effects = [effect("M2", noise, noise - blur), effect("M2", blur, perturbation="blur"), effect("dM3", 0.1)]
    dependence = dict.fromkeys(("M2", "dM3"), DEPENDENCE)
    return {"kind": "given", "says": "…", "effects": effects, "dependence": dependence, "expects": expects, **more}


def plan(names: list[str], **more: Any) -> Plan:
    """The claimed difference, and its opposite."""
    scenarios = {
        "as_claimed": given(0.6, 0.4, dict.fromkeys(names, "confirmed")),
        "contrary": given(0.4, 0.6, dict.fromkeys(names, "refuted")),
    }
    few = {"studies": 400, "null_studies": 200, "curve_studies": 50, "resamples": 1000, "seed": 4}
    return Plan.model_validate({"scenarios": scenarios, **few, **more})


NOISE, BLUR = where(perturbation="noise"), where(perturbation="blur")
M2 = {"statistic": "mean", "metric": "M2", "where": NOISE}
RISE = {"statistic": "trend", "metric": "M2", "along": "strength", "where": NOISE}
CURVE = {
    "statistic": "jumps",
    "metric": "M2",
    "along": "model",
    "levels": MODELS,
    "interval": "pooled",
    "where": NOISE,
}
BOTH = {"x": difference(NOISE, BLUR), "y": difference(BLUR, NOISE)}
RATIOS = {"x": ratio(NOISE, BLUR), "y": ratio(BLUR, NOISE)}

TWENTY = {"kind": "count", "of": [point(0.5)] * 20, "confirm_at_least": 18, "refute_at_least": 6}
SAME = {**M2, "where": where(perturbation="noise", strength=STRENGTHS)}
SELECTED = {**M2, "where": {**NOISE, "rows": [{"column": "M2", "at_least": 0.4}]}}

CANNOT_FAIL: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "above_nothing": ({"x": M2}, point(1e-9), "confirmed-by-null"),
    "whole_band": ({"x": M2}, {"kind": "band", "estimand": "x", "low": 0, "high": 1.999999}, "confirmed-by-null"),
    "either_sign": (BOTH, any_of(point(0), point(0, "y")), "confirmed-by-null"),
    "both_signs": (BOTH, {"kind": "all_of", "of": [point(1e-9), point(1e-9, "y")]}, "refuted-where-confirmed"),
    "either_ratio": (RATIOS, any_of(point(1), point(1, "y")), "confirmed-by-null"),
    "endless_noise": (
        {"x": CURVE},
        {"kind": "monotone_pooled", "estimand": "x", "order": "falling", "noise": 1e6},
        "constant",
    ),
}
"""Rules that the first version of `check` accepted, and the finding that refuses each."""

TOST = {"kind": "tost", "estimand": "x", "alpha": 0.05}
TREND = {"kind": "trend", "estimand": "x", "order": "rising", "smallest": 0.05}
TRENDS = {
    "any_trend": sketch.hypothesis("any_trend", {"x": RISE}, {**TREND, "confirm_at": 0.01, "refute_at": 0.01}),
    "three_strengths": sketch.hypothesis(
        "three_strengths", {"x": RISE}, {**TREND, "confirm_at": 0.9, "refute_at": 0.5}
    ),
}
"""Trends, which cannot be confirmed without a smallest change."""

HONEST = sketch.hypothesis("honest", {"x": difference(NOISE, BLUR)}, sketch.threshold("x", 0.0, 0.0))


@functools.cache
def simulated() -> Preregistration:
    """All rules that cannot fail, and an honest one."""
    hypotheses = [sketch.hypothesis(name, of, rule) for name, (of, rule, _) in CANNOT_FAIL.items()]
    hypotheses += [*TRENDS.values(), HONEST]
    settings = plan([one["id"] for one in hypotheses])
    found = operating_characteristics(sketch.document(DESIGN, hypotheses), settings, workers=2)
    return sketch.document(DESIGN, hypotheses, operating_characteristics=found.model_dump(mode="json"))


def chances() -> OperatingCharacteristics:
    found = simulated().operating_characteristics
    assert found is not None
    return found


def blocking(document: Preregistration, name: str, plan_: Plan | None = None) -> dict[str, Finding]:
    return {one.code: one for one in check(document, plan_) if one.blocks and one.where.split(".")[0] == name}


@pytest.mark.parametrize("name", CANNOT_FAIL)
def test_rules_that_cannot_fail_are_refused(name: str) -> None:
    found = blocking(simulated(), name)
    assert CANNOT_FAIL[name][2] in found
    assert all(words.finding(one) for one in found.values())


def test_an_honest_rule_is_not() -> None:
    assert blocking(simulated(), "honest") == {}
    for world in ("null", "shuffled"):
        # 2.5 % by its interval, and the excess of a percentile interval of 30 clips.
        assert chances().chances[world]["honest"].confirmed.low < 0.035
    assert chances().chances["as_claimed"]["honest"].confirmed.p > 0.95
    assert chances().chances["contrary"]["honest"].refuted.p > 0.95


def test_a_trend_needs_a_change() -> None:
    """A flat truth has a rank correlation of 1 over three levels in one of six studies."""
    with pytest.raises(ValidationError, match="threshold reads a number"):
        sketch.document(DESIGN, [sketch.hypothesis("H1", {"x": RISE}, point(-0.99))])
    nearly = {**TREND, "confirm_at": -0.99, "refute_at": -0.99}
    with pytest.raises(ValidationError, match="greater than 0"):
        sketch.document(DESIGN, [sketch.hypothesis("H1", {"x": RISE}, nearly)])
    for name in TRENDS:
        assert chances().chances["null"][name].confirmed.p < 0.01
        assert chances().chances["as_claimed"][name].confirmed.p > 0.9


def test_power_rises_with_the_number_of_units() -> None:
    sizes = chances().curves["honest"]
    assert [one.units for one in sizes] == [{"clips": n} for n in (15, 30, 60, 120)]
    assert [one.confirmed.p for one in sizes] == sorted(one.confirmed.p for one in sizes)


@pytest.mark.parametrize(
    ("estimands", "rule", "code", "analysis"),
    [
        ({"x": M2}, TWENTY, "duplicate-part", {}),
        ({"x": M2}, point(1e-9), "hardly-fails", {}),
        ({"x": M2}, {"kind": "band", "estimand": "x", "low": 0, "high": 1.999999}, "hardly-fails", {}),
        ({"x": difference(NOISE, BLUR)}, {**TOST, "margin": 1.99}, "hardly-fails", {}),
        ({"x": M2, "y": SAME}, any_of(point(0.5), point(0.5, "y")), "duplicate-part", {}),
        ({"x": M2}, sketch.threshold("x", 0.5, 0.5), "low-level", {"confidence_level": 0.51}),
        ({"x": SELECTED}, point(0.5), "selected-on-outcome", {}),
    ],
)
def test_structures_that_are_refused(
    estimands: dict[str, Any], rule: dict[str, Any], code: str, analysis: dict[str, Any]
) -> None:
    document = sketch.document(DESIGN, [sketch.hypothesis("H1", estimands, rule)], analysis=analysis)
    found = blocking(document, "H1", plan(["H1"])) | blocking(document, "analysis", plan(["H1"]))
    assert set(found) - {"mixes-cells"} == {code}  # pooled correlations have a warning of their own
    assert words.finding(found[code])


def test_every_hypothesis_needs_scenarios() -> None:
    document = sketch.document(DESIGN, [HONEST])
    assert [one.code for one in check(document) if one.severity == "error"] == ["no-scenarios"]
    for expected, code in (("confirmed", "no-refuting-scenario"), ("refuted", "no-confirming-scenario")):
        scenarios = {"one": given(0.6, 0.4, {"honest": expected})}
        partial = Plan.model_validate({**plan([]).model_dump(mode="json"), "scenarios": scenarios})
        (finding,) = (one for one in check(document, partial) if one.severity == "error")
        assert finding.code == code
        assert "expects: {honest:" in words.finding(finding)


def test_an_absent_effect_is_exempt_where_cells_are_alike() -> None:
    """Its null is the margin: cells alike confirm it, as they should."""
    rule = {"kind": "tost", "estimand": "x", "margin": 0.1, "alpha": 0.05}
    small = difference(where(perturbation="noise", strength=0.2), where(perturbation="blur", strength=0.2))
    hypothesis = sketch.hypothesis("H1", {"x": small}, rule)
    scenarios = {
        "alike": given(0.5, 0.5, {"H1": "confirmed"}),
        "different": given(0.8, 0.4, {"H1": "refuted"}),
    }
    settings = Plan.model_validate({**plan([]).model_dump(mode="json"), "scenarios": scenarios})
    found = operating_characteristics(sketch.document(DESIGN, [hypothesis]), settings)
    assert found.chances["null"]["H1"].confirmed.p > 0.5
    document = sketch.document(DESIGN, [hypothesis], operating_characteristics=found.model_dump(mode="json"))
    assert not {"confirmed-by-null", "confirmed-by-shuffled", "confirmed-by-noise"} & set(blocking(document, "H1"))


def test_a_warning_about_a_hypothesis_is_acknowledged() -> None:
    known = {"warning": "confirmed-by-null", "hypothesis": "above_nothing", "reason": "the level is the claim"}
    value = simulated().model_dump(mode="json", by_alias=True)
    document = Preregistration.model_validate({**value, "acknowledged": [known]})
    assert "confirmed-by-null" not in blocking(document, "above_nothing")
    assert "confirmed-by-null" in blocking(simulated(), "above_nothing")
    assert "confirmed-by-null" in blocking(document, "either_sign")  # an error, which nobody can acknowledge


def world(scenario: dict[str, Any], design: dict[str, Any] = DESIGN, clips: int = CLIPS) -> tuple[GivenWorld, Any]:
    document = sketch.document(design, [HONEST])
    needed = {cell: frozenset({"M2", "dM3"}) for cell in document.design.cells}
    checked = Given.model_validate(scenario)
    return GivenWorld("x", checked, document.design, needed, clips / CLIPS), document.design


def test_dependence_of_a_simulated_study_is_recovered() -> None:
    source, design = world(given(0.6, 0.4, {}), clips=3000)
    table = source.draw(np.random.default_rng(1))
    for metric in ("M2", "dM3"):
        found = estimate_dependence(table, design, metric)
        assert found == pytest.approx(DEPENDENCE, abs=0.05)
    # Two cells that differ in two factors have the product.
    cells = list(table.cells)
    one, other = cells.index(cells[0]), next(
        n for n, cell in enumerate(cells) if sum(cell[f] != cells[0][f] for f in cell) == 2
    )  # fmt: skip
    expected = cell_correlations([cells[one], cells[other]], DEPENDENCE)[0, 1]
    scores = stats.spearmanr(table.values["dM3"][:, one], table.values["dM3"][:, other]).statistic
    assert 2 * np.sin(np.pi * scores / 6) == pytest.approx(expected, abs=0.06)


def test_cells_correlate_positive_semidefinitely() -> None:
    document = sketch.document(DESIGN, [HONEST])
    for numbers in (DEPENDENCE, dict.fromkeys(DEPENDENCE, 1.0), {**DEPENDENCE, "model": 0.0}):
        matrix = cell_correlations(document.design.cells, numbers)
        assert np.linalg.eigvalsh(matrix).min() > -1e-9
        assert np.allclose(np.diag(matrix), 1)


@pytest.mark.parametrize("factor", DEPENDENCE)
def test_every_factor_in_which_cells_differ_is_named(factor: str) -> None:
    scenario = given(0.6, 0.4, {})
    scenario["dependence"] = {"M2": {f: x for f, x in DEPENDENCE.items() if f != factor}, "dM3": DEPENDENCE}
    with pytest.raises(BadDocument, match=f"no value for {factor}"):
        world(scenario)


def test_shuffled_cells_lose_every_relation() -> None:
    source, design = world(given(1.0, 0.2, {}, associations=[{"x": "M2", "y": "dM3", "r": 0.9}]), clips=3000)
    needed = {cell: frozenset({"M2", "dM3"}) for cell in source.skeleton.cells}
    before, after = (one.draw(np.random.default_rng(2)) for one in (source, Shuffled(source, design, needed)))
    assert np.ptp(before.values["M2"].mean(0)) > 0.5
    assert np.ptp(after.values["M2"].mean(0)) < 0.1
    assert np.array_equal(np.sort(after.values["M2"], axis=None), np.sort(before.values["M2"], axis=None))
    pairs = [np.corrcoef(table.values["M2"].ravel(), table.values["dM3"].ravel())[0, 1] for table in (before, after)]
    assert abs(pairs[1]) < 0.03 < pairs[0]


def test_noise_and_dose_know_nothing_else() -> None:
    document = sketch.document(DESIGN, [HONEST])
    needed = {cell: frozenset({"M2", "dM3"}) for cell in document.design.cells}
    noise = Noise(document.design, needed).draw(np.random.default_rng(3))
    assert stats.kstest(noise.values["dM3"].ravel(), stats.uniform(-1, 2).cdf).pvalue > 1e-4
    dose = Dose(document.design, needed, "strength").draw(np.random.default_rng(3))
    means = dict(zip(dose.cells, dose.values["M2"].mean(0), strict=True))
    for cell, mean in means.items():
        expected = {None: 0.1, 0.2: 0.1, 0.6: 1.0, 1.0: 1.9}[cell["strength"]]  # type: ignore[index]
        assert mean == pytest.approx(expected, abs=0.005)


class Paired(VideoDesign):
    """A design with two clips of each source."""

    def count_sources(self, stratum: str) -> int:
        return self.count_units(stratum) // 2


def test_units_of_one_source_correlate() -> None:
    design = Paired.model_validate(
        sketch.design(sketch.cells(["clips"], MODELS[:2], ["noise", "blur"], STRENGTHS), clips={"clips": 2000})
    )
    assert len(set(skeleton(design, design.cells, 0.5).sources)) == 500
    needed: Needed = {cell: frozenset({"M2"}) for cell in design.cells}
    with pytest.raises(BadDocument, match="no value for source"):
        GivenWorld("x", Given.model_validate(given(0.5, 0.5, {})), design, needed)
    dependence = {**DEPENDENCE, "source": 0.7}
    scenario = Given.model_validate({**given(0.5, 0.5, {}), "dependence": {"M2": dependence}})
    drawn = GivenWorld("x", scenario, design, needed).draw(np.random.default_rng(5))
    assert estimate_dependence(drawn, design, "M2") == pytest.approx(dependence, abs=0.06)


def test_few_studies_must_be_acknowledged() -> None:
    document = sketch.document(DESIGN, [HONEST])
    found = [one for one in check(document, plan(["honest"])) if one.code == "few-studies"]
    assert {one.values["field"] for one in found} == {"studies", "null_studies", "curve_studies"}
    assert all(one.blocks for one in found)
    enough = plan(["honest"], studies=2000, null_studies=400, curve_studies=100)
    assert not [one for one in check(document, enough) if one.blocks]
    known = sketch.document(DESIGN, [HONEST], acknowledged=[{"warning": "few-studies", "reason": "a test"}])
    assert not [one for one in check(known, plan(["honest"])) if one.blocks]
