"""Operating characteristics against closed forms; scenarios that leave something open; rules that never turn."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import stats

from tests.bench import replica
from tests.verdict import sketch
from vjepa_stress.digest import digest_of
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import OperatingCharacteristics, Plan
from vjepa_stress.statistics.numerics.estimate import evaluate
from vjepa_stress.verdict import power
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.plan import compute
from vjepa_stress.verdict.power import constant_rules, operating_characteristics, plan_runs
from vjepa_stress.verdict.simulation import Simulation
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import GivenWorld, PilotWorld

CLIPS = 40
DESIGN = sketch.design(
    sketch.cells(["ssv2"], ["base", "large"], ["noise", "drops"], [0.2, 0.6, 1.0])
    + sketch.cells(["ssv2"], ["base", "large"], ["identity"])
    + sketch.cells(["davis"], ["base", "large"], ["noise"], [0.2, 1.0]),
    clips={"ssv2": CLIPS, "davis": 12},
    # So wide that values are as good as normal.
    metrics={"M1": (-1000, 1000), "M2": (0, 2), "dM3": (-1, 1)},
)
SD = 1.0


def mean_of(metric: str, **where: Any) -> dict[str, Any]:
    return {"statistic": "mean", "metric": metric, "where": {key: [value] for key, value in where.items()}}


NOISE = mean_of("M1", perturbation="noise", model="base", strength=0.6, dataset="ssv2")
POINT = sketch.hypothesis("H1", {"m": NOISE}, sketch.threshold("m", 0.2, 0.0, "point"))


def effect(metric: str, mean: float, sd: float, slope: float = 0.0, **where: Any) -> dict[str, Any]:
    return {
        "metric": metric,
        "where": {key: [value] for key, value in where.items()},
        "mean": mean,
        "sd": sd,
        **({"slope": slope, "along": "strength"} if slope else {}),
    }


FACTORS = ("model", "perturbation", "strength")


def given(
    *effects: dict[str, Any], within: float = 0.3, associations: tuple[Any, ...] = (), **more: Any
) -> dict[str, Any]:
    """Each factor in which two cells differ multiplies their correlation by `within`."""
    return {
        "kind": "given",
        "says": "a world",
        "effects": effects,
        "dependence": {metric: dict.fromkeys(FACTORS, within) for metric in ("M1", "M2", "dM3")},
        "associations": associations,
        **more,
    }


def plan(**scenarios: dict[str, Any]) -> Plan:
    settings = {"studies": 2000, "null_studies": 200, "resamples": 1000, "seed": 11}
    return Plan.model_validate({"scenarios": scenarios, **settings})


def test_a_threshold_on_a_mean_has_a_closed_form() -> None:
    """Confirmed when a mean of 40 normal values reaches 0.2, refuted when it falls below 0."""
    document = sketch.document(DESIGN, [POINT])
    means = {"nothing": -0.3, "little": 0.1, "much": 0.3}
    found = operating_characteristics(document, plan(**{n: given(effect("M1", m, SD)) for n, m in means.items()}))
    error = SD / math.sqrt(CLIPS)
    for name, mean in means.items():
        chances = found.chances[name]["H1"]
        expected = stats.norm.sf(0.2, mean, error), stats.norm.cdf(0.0, mean, error)
        for chance, p in zip((chances.confirmed, chances.refuted), expected, strict=True):
            assert chance.p == pytest.approx(p, abs=3.5 * math.sqrt(p * (1 - p) / 2000) + 1e-3)
            wilson = stats.binomtest(round(2000 * chance.p), 2000).proportion_ci(0.95, method="wilson")
            assert (chance.low, chance.high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
        total = chances.confirmed.p + chances.ambiguous.p + chances.refuted.p + chances.not_evaluable.p
        assert total == pytest.approx(1)
    assert constant_rules(document, found) == ()


def test_an_interval_above_zero_has_the_power_of_a_test() -> None:
    """A bootstrap interval of 40 clips is that of a test with a little less than Student's t."""
    rule = sketch.threshold("m", 0.0, 0.0)
    document = sketch.document(DESIGN, [sketch.hypothesis("H1", {"m": NOISE}, rule)])
    found = operating_characteristics(
        document, plan(zero=given(effect("M1", 0, SD)), some=given(effect("M1", 0.4, SD)))
    )
    assert 0.015 < found.chances["zero"]["H1"].confirmed.p < 0.055  # 0.025, and the percentile interval's excess
    expected = stats.nct.sf(stats.t.ppf(0.975, CLIPS - 1), CLIPS - 1, 0.4 * math.sqrt(CLIPS))
    assert found.chances["some"]["H1"].confirmed.p == pytest.approx(expected, abs=0.06)


def test_workers_and_other_scenarios_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "_POOL_START", 0.0)  # processes even for a small simulation
    pair = {"statistic": "pearson", "x": "M2", "y": "dM3", "where": {"dataset": ["davis"]}}
    document = sketch.document(DESIGN, [POINT, sketch.hypothesis("H2", {"r": pair}, sketch.threshold("r", 0.5, 0.3))])
    wide = (effect("M1", 0.1, SD), effect("M2", 0.5, 0.2), effect("dM3", 0.1, 0.1))
    association = ({"x": "M2", "y": "dM3", "r": 0.5},)
    one = given(*wide, associations=association, expects={"H1": "confirmed", "H2": "confirmed"})
    few = {"studies": 200, "null_studies": 50, "curve_studies": 50}
    alone = operating_characteristics(document, plan(one=one).model_copy(update=few))
    shared = operating_characteristics(document, plan(other=given(*wide), one=one).model_copy(update=few), workers=2)
    assert set(alone.chances) == {"one", "null", "shuffled", "noise", "dose"}
    assert {name: shared.chances[name] for name in alone.chances} == alone.chances
    assert shared.curves == alone.curves
    assert shared.severity == alone.severity
    assert list(alone.severity) == ["H1", "H2"]
    assert shared.chances["other"]["H1"] == alone.chances["one"]["H1"]  # the same clips
    assert shared.chances["other"]["H2"] != alone.chances["one"]["H2"]


def test_the_calibration_gate_is_part_of_it() -> None:
    floor = {"statistic": "maximum", "metric": "M2", "where": {"perturbation": ["identity"]}}
    limit = {"kind": "threshold", "estimand": "floor", "direction": "below", "use": "point"}
    gate = sketch.hypothesis("C1", {"floor": floor}, {**limit, "confirm_at": 1e-6, "refute_at": 1e-6}, "calibration")
    document = sketch.document(DESIGN, [gate, POINT])
    ours = effect("M1", 0.1, SD)
    found = operating_characteristics(
        document, plan(fine=given(ours, effect("M2", 1e-8, 5e-9)), broken=given(ours, effect("M2", 0.1, 0.05)))
    )
    assert found.chances["fine"]["C1"].confirmed.p == 1
    assert found.chances["fine"]["H1"].not_evaluable.p == 0
    assert found.chances["broken"]["C1"].refuted.p == 1
    assert found.chances["broken"]["H1"].not_evaluable.p == 1
    assert constant_rules(document, found) == ()


def test_where_every_gate_is_withdrawn_nothing_passes() -> None:
    """As in the evaluation: without a gate that holds there is no verdict."""
    gate = sketch.hypothesis("C1", {"m": NOISE}, sketch.threshold("m", -50, -60, "point"), "calibration")
    document = sketch.document(DESIGN, [gate, POINT])
    gone = (document.hypotheses[0].model_copy(update={"status": "withdrawn"}), document.hypotheses[1])
    withdrawn = document.model_copy(update={"hypotheses": gone})
    scenario = plan(one=given(effect("M1", 0.1, SD)))
    assert operating_characteristics(document, scenario).chances["one"]["H1"].not_evaluable.p == 0
    assert operating_characteristics(withdrawn, scenario).chances["one"]["H1"].not_evaluable.p == 1


def test_rules_that_never_turn_are_named() -> None:
    sure = sketch.hypothesis("H2", {"m": NOISE}, sketch.threshold("m", -50, -60, "point"))
    gate = sketch.hypothesis("C1", {"m": NOISE}, sketch.threshold("m", -50, -60, "point"), "calibration")
    document = sketch.document(DESIGN, [gate, POINT, sure])
    found = operating_characteristics(document, plan(a=given(effect("M1", -0.3, SD)), b=given(effect("M1", 0.4, SD))))
    assert constant_rules(document, found) == ("H2",)


def world(scenario: dict[str, Any], *needed: tuple[str, ...]) -> GivenWorld:
    """All cells, with these metrics each."""
    document = sketch.document(DESIGN, [POINT])
    metrics = frozenset(name for names in needed for name in names)
    (checked,) = plan(x=scenario).scenarios.values()
    return GivenWorld("x", checked, document.design, dict.fromkeys(document.design.cells, metrics))  # type: ignore[arg-type]


def drawn(source: GivenWorld | PilotWorld, metric: str, studies: int = 200) -> NDArray[np.float64]:
    """Values of many studies under each other, (studies × clips, cells)."""
    draws = [source.draw(np.random.default_rng(n)).values[metric] for n in range(studies)]
    return np.concatenate(draws)


def test_a_world_is_as_its_scenario_says() -> None:
    effects = (
        effect("M2", 0.1, 0.05, slope=0.6),
        effect("M2", 1.2, 0.3, model="large", perturbation="drops"),
        effect("dM3", -0.2, 0.1),
        effect("M1", 5, 2),
    )
    source = world(
        given(*effects, within=0.4, associations=({"x": "M2", "y": "dM3", "r": -0.7},)), ("M2",), ("dM3",), ("M1",)
    )
    for metric in ("M2", "dM3", "M1"):
        values = drawn(source, metric)
        for column, cell in enumerate(sketch.video(source.skeleton.cells)):
            here = values[:, column]
            here = here[np.isfinite(here)]
            assert len(here) == 200 * {"ssv2": CLIPS, "davis": 12}[cell.dataset]
            mean, sd = {
                "M2": (1.2, 0.3)
                if (cell.model, cell.perturbation) == ("large", "drops")
                else (0.1 + 0.6 * (cell.strength or 0), 0.05),
                "dM3": (-0.2, 0.1),
                "M1": (5, 2),
            }[metric]
            assert here.mean() == pytest.approx(mean, abs=5 * sd / math.sqrt(len(here)))
            assert here.std() == pytest.approx(sd, rel=0.08)
    m2, dm3 = (drawn(source, name) for name in ("M2", "dM3"))
    cells = sketch.video(source.skeleton.cells)
    davis = [n for n, cell in enumerate(cells) if cell.dataset == "davis"]
    rows = np.isfinite(m2[:, davis[0]])
    assert stats.spearmanr(m2[rows][:, davis[0]], dm3[rows][:, davis[0]]).statistic == pytest.approx(-0.68, abs=0.05)
    assert stats.spearmanr(m2[rows][:, davis[0]], m2[rows][:, davis[2]]).statistic == pytest.approx(0.385, abs=0.05)


def test_one_clip_of_a_world_shares_what_the_scenario_says() -> None:
    independent, equal = (world(given(effect("M2", 0.5, 0.2), within=w), ("M2",)) for w in (0.0, 1.0))
    apart, together = (drawn(source, "M2", 20)[:, -2:] for source in (independent, equal))
    apart, together = (part[np.isfinite(part).all(axis=1)] for part in (apart, together))
    assert abs(stats.pearsonr(*apart.T).statistic) < 0.15
    assert np.allclose(together[:, 0], together[:, 1])


def test_a_pilot_gives_its_own_clips_whole() -> None:
    document = sketch.document(DESIGN, [POINT])
    pilot = sketch.table(document, seed=3)
    scenario = {"kind": "pilot", "says": "…", "study": "pilot", "document": digest_of({}), "attempt": 1}
    found = operating_characteristics(document, plan(pilot=scenario), {"pilot": pilot})
    column = next(
        n
        for n, cell in enumerate(sketch.video(pilot.cells))
        if (cell.dataset, cell.model, cell.perturbation, cell.strength) == ("ssv2", "base", "noise", 0.6)
    )
    values = pilot.values["M1"][:, column]
    values = values[np.isfinite(values)]
    means = np.random.default_rng(0).choice(values, (4000, CLIPS)).mean(1)
    p = float((means >= 0.2).mean())
    assert found.chances["pilot"]["H1"].confirmed.p == pytest.approx(p, abs=0.05)

    source = PilotWorld("pilot", pilot, document.design, document.design.cells)
    study = source.draw(np.random.default_rng(1))
    clips = {tuple(row) for row in np.nan_to_num(pilot.values["M2"])}
    assert {tuple(row) for row in np.nan_to_num(study.values["M2"])} < clips
    assert "M2_n" in study.values

    with pytest.raises(BadDocument, match="pilot is missing"):
        operating_characteristics(document, plan(pilot=scenario))
    smaller = Table(pilot.cells[:4], pilot.units, pilot.values, pilot.present[:, :4])
    with pytest.raises(BadDocument, match="pilot lacks"):
        operating_characteristics(document, plan(pilot=scenario), {"pilot": smaller})


@pytest.mark.parametrize(
    ("scenario", "text"),
    [
        (given(effect("M2", 0.5, 0.1)), "has no effect for M1"),
        ({**given(effect("M1", 0.5, 0.1)), "dependence": {}}, "`dependence` has no entry for M1"),
        ({**given(effect("M1", 0.5, 0.1)), "dependence": {"M1": {"colour": 1.0}}}, "unknown factor 'colour'"),
        ({**given(effect("M1", 0.5, 0.1)), "expects": {"H7": "refuted"}}, "unknown hypothesis 'H7'"),
        (given(effect("M1", 2000, 1)), "impossible mean or standard deviation"),
        (given(effect("M1", 0, 1001)), "impossible mean or standard deviation"),
        (given(effect("M9", 0, 1)), "unknown metric 'M9'"),
        (given(effect("M1", 0, 1, perturbation="blur")), "selects no cell"),
    ],
)
def test_scenarios_that_leave_something_open(scenario: dict[str, Any], text: str) -> None:
    with pytest.raises(BadDocument, match=text):
        operating_characteristics(sketch.document(DESIGN, [POINT]), plan(x=scenario))


def test_associations_that_cannot_be() -> None:
    pairs = tuple(
        {"x": x, "y": y, "r": r} for x, y, r in (("M1", "M2", 0.9), ("M1", "dM3", 0.9), ("M2", "dM3", -0.9))
    )
    everything = (effect("M1", 0, 1), effect("M2", 0.5, 0.1), effect("dM3", 0, 0.1))
    with pytest.raises(BadDocument, match="associations are impossible"):
        world(given(*everything, associations=pairs), ("M1",), ("M2",), ("dM3",))


def test_a_filter_by_counts_needs_a_pilot() -> None:
    asked = {**NOISE, "where": {**NOISE["where"], "rows": [{"column": "M1_n", "at_least": 1}]}}
    document = sketch.document(DESIGN, [sketch.hypothesis("H1", {"m": asked}, sketch.threshold("m", 0.5, 0.1))])
    with pytest.raises(BadDocument, match="only metrics can be simulated"):
        operating_characteristics(document, plan(x=given(effect("M1", 0.5, 0.1))))
    table = sketch.table(document)
    scenario = {"kind": "pilot", "says": "…", "study": "pilot", "document": digest_of({}), "attempt": 1}
    found = operating_characteristics(document, plan(x=scenario), {"x": table})
    assert found.chances["x"]["H1"].not_evaluable.p == 0


def with_characteristics(found: OperatingCharacteristics | dict[str, Any]) -> Preregistration:
    value = found if isinstance(found, dict) else found.model_dump(mode="json")
    return sketch.document(DESIGN, [POINT], operating_characteristics=value)


def test_they_stand_in_the_document() -> None:
    document = sketch.document(DESIGN, [POINT])
    assert document.model_dump(mode="json")["operating_characteristics"] is None
    found = operating_characteristics(document, plan(x=given(effect("M1", 0.1, SD))))
    frozen = with_characteristics(found)
    assert frozen.operating_characteristics == found
    assert Preregistration.model_validate_json(frozen.model_dump_json(by_alias=True)) == frozen
    value = found.model_dump(mode="json")
    for changed, text in (
        ({**value, "studies": 49}, "50"),
        ({**value, "chances": {}}, "chances for"),
        ({**value, "chances": {"x": {"H9": value["chances"]["x"]["H1"]}}}, "unknown hypothesis 'H9'"),
        ({**value, "scenarios": {"x": given(effect("M9", 0, 1))}}, "unknown metric 'M9'"),
        ({**value, "scenarios": {"x": given({**effect("M1", 0, 1), "where": {"rows": []}})}}, "rows"),
    ):
        with pytest.raises(ValidationError, match=text):
            with_characteristics(changed)


def test_studies_of_the_published_size_are_simulated_as_they_are_judged() -> None:
    """322 cells, H1 to H6: a simulated study's estimates are those of the function that judges a real one."""
    document, plan_ = replica.study(), replica.plan()
    assert len(document.design.cells) == 322
    simulation = Simulation(document, plan_, plan_runs(document, plan_)[0], {})
    said = {name: outcome for (name, border), outcome in simulation.study(0).items() if border is None}
    assert said["C1"] == said["H1"] == said["H4"] == said["H6"] == "confirmed"
    table = simulation.world.draw(np.random.default_rng(0))
    how = resampling(document).model_copy(update={"resamples": 1000})
    for planned in list(simulation.plans.values())[::7]:
        (together,) = evaluate([planned.read(table, how, strict=True)], how)
        alone = compute(planned.estimand, table, document.design, how, strict=True)
        assert alone == together
