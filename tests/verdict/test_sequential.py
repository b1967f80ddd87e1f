"""Studies with registered looks: the order of sources, which look decides, and what such studies refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from tests.design import toy
from tests.verdict import sketch
from tests.verdict.test_evaluate import evidence
from vjepa_stress.digest import parse_json
from vjepa_stress.errors import BadDocument, CellsIncomplete
from vjepa_stress.evidence.audit import audit
from vjepa_stress.evidence.looks import look_report
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Preregistration, Sequential
from vjepa_stress.prereg.scenarios import Plan
from vjepa_stress.prereg.schema import validate
from vjepa_stress.report import verdicts
from vjepa_stress.report.show import as_text, describe
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.check import check
from vjepa_stress.verdict.estimate import betting_mean
from vjepa_stress.verdict.evaluate import HypothesisVerdict, StudyVerdict, evaluate
from vjepa_stress.verdict.multiplicity import p_value, resampling
from vjepa_stress.verdict.order import of_first_sources, source_rank
from vjepa_stress.verdict.plan import compute
from vjepa_stress.verdict.power import operating_characteristics
from vjepa_stress.verdict.sequential import at_look, deciding
from vjepa_stress.verdict.table import Table

LOOKS = [20, 40, 80]
CELLS = sketch.cells(["davis"], ["base", "twin"], ["noise", "drops"], [0.2, 1.0])
DESIGN = sketch.design(CELLS, clips={"davis": 120}, sources={"davis": 80}, controls=["twin"])
NOISE, DROPS = {"perturbation": ["noise"]}, {"perturbation": ["drops"]}
MEAN = {"statistic": "mean", "metric": "M2", "where": NOISE, "interval": "betting"}
GAP = {"statistic": "difference", "metric": "M2", "of": NOISE, "minus": DROPS, "interval": "betting"}
TOP = {"statistic": "maximum", "metric": "M1", "where": NOISE}
BAND = {"kind": "band", "estimand": "gap", "low": -0.35, "high": 0.35}
SEQUENTIAL = {"kind": "sequential", "looks": LOOKS}


def study(*more: dict[str, Any], stopping: Any = SEQUENTIAL, rule: Any = BAND, **fields: Any) -> Preregistration:
    """A study whose H1 reads the difference between noise and drops."""
    hypotheses = [sketch.hypothesis("H1", {"gap": GAP}, rule), *more]
    return sketch.document(DESIGN, hypotheses, analysis={"stopping": stopping}, **fields)


def judged(document: Preregistration, table: Table) -> HypothesisVerdict:
    return evaluate(evidence(document, table)).hypotheses[0]


# The order of sources


def test_the_order_is_that_of_the_digests_of_seed_and_source() -> None:
    sources = ("b", "a", "c", "d", "a")
    keys = {name: hashlib.sha256(f"7 {name}".encode()).hexdigest() for name in sources}
    expected = sorted(keys, key=keys.__getitem__)
    assert [expected[rank] for rank in source_rank(sources, 7)] == list(sources)
    assert source_rank(sources, 8).tolist() != source_rank(sources, 7).tolist()


def test_a_betting_interval_reads_sources_in_that_order() -> None:
    """Clips of a source are averaged, whatever the order of the clips in the table."""
    document = study()
    table = sketch.table(document)
    one = document.hypotheses[0].estimands["gap"]
    found = compute(one, table, document.design, resampling(document), strict=True)
    cells = [document.design.select(where) for where in one.filters()]
    sides = [table.take("M2", chosen)[0] for chosen in cells]
    by_source = {
        name: [float(np.mean(side[[n for n, of in enumerate(table.sources) if of == name]])) for side in sides]
        for name in table.sources
    }
    order = sorted(by_source, key=lambda name: hashlib.sha256(f"5 {name}".encode()).hexdigest())
    expected = betting_mean([by_source[name][0] - by_source[name][1] for name in order], (-2, 2))
    assert found == pytest.approx(expected)
    assert found.n == 80
    shuffled = np.random.default_rng(0).permutation(len(table.units))
    other = Table(
        table.cells,
        tuple(table.units[n] for n in shuffled),
        {name: part[shuffled] for name, part in table.values.items()},
        table.present[shuffled],
        tuple(table.sources[n] for n in shuffled),
    )
    again = compute(one, other, document.design, resampling(document), strict=True)
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-12)
    reseeded = compute(one, table, document.design, Resampling(seed=6), strict=True)
    assert reseeded.value == pytest.approx(found.value)
    assert reseeded.high != found.high


def test_a_look_has_the_first_sources_of_each_data_set_with_all_their_clips() -> None:
    cells = [*CELLS, *sketch.cells(["ssv2"], ["base"], ["noise"], [0.2])]
    design = sketch.design(cells, clips={"davis": 120, "ssv2": 30}, sources={"davis": 80, "ssv2": 15})
    mean = {**MEAN, "where": {**NOISE, "dataset": ["davis"]}}
    document = sketch.document(design, [sketch.hypothesis("H1", {"m": mean}, sketch.threshold("m", 0.5, 0.1))])
    table = sketch.table(document)
    look = at_look(table, 20, document)
    kept = {name for name in look.sources if name.startswith("davis")}
    rank = dict(zip(table.sources, source_rank(table.sources, 5), strict=True))
    davis = sorted({name for name in table.sources if name.startswith("davis")}, key=rank.__getitem__)
    assert kept == set(davis[:20])
    assert len({name for name in look.sources if name.startswith("ssv2")}) == 15
    assert all(look.sources.count(name) == table.sources.count(name) for name in look.sources)
    assert at_look(table, 80, document) is table
    assert at_look(table, None, document) is table
    # The interval of a look is the interval of the first sources: nothing of the rest is used.
    one = document.hypotheses[0].estimands["m"]
    values = dict(table.values)
    later = ~of_first_sources(table, 20, document.design, 5)
    values["M2"] = np.where(later[:, None] & table.present, 1 - values["M2"], values["M2"])
    how = resampling(document)
    before = compute(one, look, document.design, how, strict=True)
    after = compute(one, at_look(replace(table, values=values), 20, document), document.design, how, strict=True)
    assert before == after
    assert before.n == 20


# Which look decides


def test_the_first_look_that_confirms_or_refutes_decides() -> None:
    assert deciding({20: "ambiguous", 40: "refuted", 80: "confirmed"}) == 40
    assert deciding({20: "not-evaluable", 40: "ambiguous", 80: "confirmed"}) == 80
    assert deciding({20: "ambiguous", 40: "ambiguous"}) == 40
    document = study(sensitivity=[{"name": "bootstrap", "interval": "expanded"}])
    table = sketch.table(document)
    one = judged(document, table)
    assert [look.sources for look in one.looks] == LOOKS
    assert [look.outcome for look in one.looks] == ["ambiguous", "confirmed", "confirmed"]
    assert (one.verdict, one.look) == ("confirmed", 40)
    assert one.estimates["gap"].estimate == one.looks[1].estimates["gap"]
    assert [look.estimates["gap"].n for look in one.looks] == LOOKS
    assert one.controls["twin"]["gap"].n == 40
    assert [other.outcome for other in one.alternatives] == ["confirmed"]
    assert verdicts.looks(one) == (
        "look after 40 sources (ambiguous after 20, confirmed after 40, confirmed after 80)"
    )


def test_without_a_decision_the_last_look_counts() -> None:
    one = judged(study(rule={**BAND, "low": -0.01, "high": 0.01}), sketch.table(study()))
    assert (one.verdict, one.look) == ("ambiguous", 80)


def test_a_study_with_one_look_has_no_record_of_looks() -> None:
    document = study(stopping="fixed")
    one = judged(document, sketch.table(document))
    assert (one.verdict, one.look, one.looks) == ("confirmed", None, ())
    assert not {"look", "looks"} & one.model_dump(mode="json").keys()
    assert verdicts.looks(one) == ""


def test_p_values_are_those_of_the_look_that_decided() -> None:
    document = study()
    bonferroni = document.model_copy(
        update={"analysis": document.analysis.model_copy(update={"multiplicity": "bonferroni"})}
    )
    table = sketch.table(document)
    one = judged(bonferroni, table)
    hypothesis = bonferroni.hypotheses[0]
    assert one.p == p_value(hypothesis, at_look(table, 40, document), bonferroni)
    assert one.p is not None
    assert one.p <= 0.05
    later = p_value(hypothesis, table, bonferroni)
    assert later is not None
    assert later < one.p


def test_an_exploratory_look_does_not_decide_in_the_words_of_a_verdict() -> None:
    document = study()
    seen = replace(evidence(document, sketch.table(document)), objections=(CellsIncomplete("…", where="here"),))
    one = evaluate(seen).hypotheses[0]
    assert [look.outcome for look in one.looks] == ["exploratory-open", "exploratory-for", "exploratory-for"]
    assert (one.verdict, one.look) == ("exploratory-for", 40)


@pytest.mark.parametrize("highest", [0.5, 3.0])
def test_gates_are_read_once_with_all_sources(highest: float) -> None:
    """A value that only the last look has closes the gate of a hypothesis that an earlier look decided."""
    rule = {"kind": "threshold", "estimand": "top", "direction": "below", "confirm_at": 1.5, "refute_at": 1.5}
    gate = sketch.hypothesis("C1", {"top": TOP}, {**rule, "use": "point"}, "calibration")
    document = study(gate)
    table = sketch.table(document)
    last = ~of_first_sources(table, 40, document.design, 5)
    table.values["M1"][np.flatnonzero(last)[0], :] = highest
    claim, calibration = evaluate(evidence(document, table)).hypotheses
    assert (calibration.look, calibration.looks) == (None, ())
    passes = highest < 1.5
    assert calibration.verdict == ("confirmed" if passes else "refuted")
    assert (claim.verdict, claim.look) == (("confirmed", 40) if passes else ("not-evaluable", None))
    assert bool(claim.looks) == passes


# What is refused

POOLED = {"statistic": "pearson", "x": "M1", "y": "M2", "where": NOISE}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"stopping": {**SEQUENTIAL, "looks": []}}, "at least 1 item"),
        ({"stopping": {**SEQUENTIAL, "looks": [1, 80]}}, "greater than or equal to 2"),
        (
            {"stopping": {**SEQUENTIAL, "looks": [40, 20, 80]}},
            "looks are 40, 20, 80: list each once, in rising",
        ),
        ({"stopping": {**SEQUENTIAL, "looks": [40, 40, 80]}}, "list each once"),
        ({"stopping": {**SEQUENTIAL, "looks": [20, 60]}}, "after 60 sources, but rules read up to 80 of a data set"),
        ({"stopping": {**SEQUENTIAL, "looks": [20, 100]}}, "let the last look be 80"),
        ({"stopping": {"kind": "sometimes", "looks": LOOKS}}, "Input should be 'sequential'"),
        ({"stopping": {**SEQUENTIAL, "spend": "all"}}, "spend"),
        (
            {"rule": sketch.threshold("gap", 0.1, 0.0, "point")},
            "H1.gap: threshold reads only the value, .* use `use: interval`, or `stopping: fixed`",
        ),
    ],
)
def test_schedules_and_rules_that_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        study(**change)


@pytest.mark.parametrize(
    ("estimand", "found"),
    [
        ({**MEAN, "interval": "expanded"}, "mean, interval expanded"),
        (POOLED, "pearson, interval jackknife"),
        (TOP, "maximum, interval none"),
        ({"statistic": "trend", "metric": "M2", "along": "strength", "where": NOISE}, "trend, interval expanded"),
    ],
)
def test_statistics_that_do_not_hold_at_every_look_are_refused(estimand: dict[str, Any], found: str) -> None:
    other = sketch.hypothesis("H2", {"x": estimand}, sketch.reading("x", estimand))
    with pytest.raises(ValidationError, match=f"H2.x: a sequential study needs .* found {found}: use a mean"):
        study(other)
    study(other, stopping="fixed")


def test_a_gate_can_read_what_has_no_sampling_error() -> None:
    study(sketch.hypothesis("C1", {"x": TOP}, sketch.reading("x", TOP), "calibration"))
    with pytest.raises(ValidationError, match=r"C1\.x: a sequential study needs"):
        study(sketch.hypothesis("C1", {"x": POOLED}, sketch.reading("x", POOLED), "calibration"))


def test_a_betting_interval_needs_one_data_set() -> None:
    cells = [*CELLS, *sketch.cells(["ssv2"], ["base"], ["noise"], [0.2])]
    design = sketch.design(cells, clips={"davis": 80, "ssv2": 30})
    hypothesis = sketch.hypothesis("H1", {"m": MEAN}, sketch.threshold("m", 0.5, 0.1))
    with pytest.raises(ValidationError, match=r"H1.m: a betting interval needs .* found davis, ssv2: restrict"):
        sketch.document(design, [hypothesis])
    # An alternative does not apply where the interval has no meaning.
    mean = {**MEAN, "interval": "expanded"}
    document = sketch.document(
        design,
        [sketch.hypothesis("H1", {"m": mean}, sketch.threshold("m", 0.5, 0.1))],
        sensitivity=[{"name": "betting", "interval": "betting"}],
    )
    assert [one.outcome for one in judged(document, sketch.table(document)).alternatives] == [None]


def test_a_rule_may_read_a_betting_interval_of_few_sources() -> None:
    design = sketch.design(CELLS, clips={"davis": 12})
    for interval, few in (("betting", False), ("expanded", True)):
        estimand = {**MEAN, "interval": interval}
        document = sketch.document(design, [sketch.hypothesis("H1", {"m": estimand}, sketch.reading("m", estimand))])
        assert ("too-few-sources" in {one.code for one in check(document)}) == few


# Bytes and schemas


def test_the_schedule_survives_bytes_and_schema() -> None:
    document = study()
    data = freeze.to_bytes(document)
    assert freeze.from_bytes(data, "here") == document
    assert isinstance(document.analysis.stopping, Sequential)
    assert parse_json(data)["analysis"]["stopping"] == SEQUENTIAL
    assert parse_json(freeze.to_bytes(study(stopping="fixed")))["analysis"]["stopping"] == "fixed"
    value = parse_json(data)
    value["analysis"]["stopping"]["looks"] = "often"
    with pytest.raises(BadDocument) as error:
        validate(Preregistration, value, "v1.json")
    assert "analysis.stopping.sequential.looks: " in str(error.value.found)


def test_the_same_verdict_twice() -> None:
    document = study()
    first, second = (evaluate(evidence(document, sketch.table(document))).to_bytes() for _ in range(2))
    assert first == second
    assert StudyVerdict.model_validate(parse_json(first)).to_bytes() == first


# Simulated studies


def world(mean: float) -> dict[str, Any]:
    """Noise with a mean, drops with mean 0.3."""
    effects = [
        {"metric": "M2", "where": where, "mean": one, "sd": 0.2} for where, one in ((NOISE, mean), (DROPS, 0.3))
    ]
    numbers = dict.fromkeys(("model", "perturbation", "strength", "source"), 0.2)
    return {"kind": "given", "says": "…", "effects": effects, "dependence": {"M2": numbers}}


def test_simulated_studies_are_judged_at_the_registered_looks() -> None:
    """At the border, looks do not confirm more often than α; far from it, they confirm like one look at the end."""
    rule = sketch.threshold("gap", 0.1, 0.1)
    plan = Plan.model_validate(
        {
            "scenarios": {
                "border": {**world(0.4), "expects": {"H1": "refuted"}},
                "far": {**world(0.6), "expects": {"H1": "confirmed"}},
            },
            "studies": 400,
            "null_studies": 50,
            "curve_studies": 50,
            "resamples": 1000,
            "seed": 3,
        }
    )
    looks = operating_characteristics(study(rule=rule), plan)
    once = operating_characteristics(study(rule=rule, stopping="fixed"), plan)
    for found in (looks, once):
        assert found.chances["border"]["H1"].confirmed.p <= stats.binom.ppf(0.999, 400, 0.025) / 400
        assert found.chances["far"]["H1"].confirmed.p == 1
    # With a running intersection, what an earlier look confirms, the last one confirms too.
    assert looks.chances == once.chances
    assert looks.severity == once.severity


# From shards to the report


@pytest.fixture
def _toys() -> Iterator[None]:
    with toy.only_toys():
        yield


@pytest.mark.usefixtures("_toys")
def test_a_sequential_study_is_registered_judged_reported_and_audited(tmp_path: Path) -> None:
    share = {**toy.ESTIMANDS["share"], "interval": "betting"}
    document = sketch.document(
        toy.fields(),
        [sketch.hypothesis("H1", {"share": share}, sketch.threshold("share", 0.3, 0.2))],
        study="toy",
        analysis={"stopping": {"kind": "sequential", "looks": [5, 20, 30]}},
    )
    root = toy.root(tmp_path)
    toy.run(root, document)
    look = look_report(root, "toy")
    (one,) = look.verdict.hypotheses
    assert (one.verdict, one.look) == ("confirmed", 20)
    folder = look.file.parent
    for name in ("report.html", "report.md"):
        page = (folder / name).read_text()
        assert "after 5, 20 and 30 sources of each data set" in page
        assert "look after 20 sources (ambiguous after 5, confirmed after 20, confirmed after 30)" in page
        assert "20, decides" in page
    assert audit(root, "toy").verdicts == {"H1": "confirmed"}
    assert "after 5, 20 and 30 sources of each data set; the first that" in as_text(
        describe(freeze.load(root, "toy"))
    )
