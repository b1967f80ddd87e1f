"""A design of another kind goes through filters, estimands, rules, gate and verdict; none of them knows videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tests.design import toy
from tests.design.toy import CONTROL, ESTIMANDS, QUESTIONS, TEMPERATURES, TERSE
from tests.verdict import sketch
from vjepa_stress import design as designs
from vjepa_stress.design import Cell, VideoDesign, Where
from vjepa_stress.digest import canonical_json, parse_json, sha256
from vjepa_stress.errors import FlaggedValues, RowsMissing, ShardTampered, StatusTooEarly
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import Plan
from vjepa_stress.prereg.schema import validate
from vjepa_stress.records import Row, shard_schema
from vjepa_stress.report import verdicts, words
from vjepa_stress.statistics.jumps import jumps
from vjepa_stress.statistics.mean import bootstrap_mean
from vjepa_stress.statistics.numerics.estimate import Estimate, Note
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.trend import trend
from vjepa_stress.verdict.check import check
from vjepa_stress.verdict.evaluate import StudyVerdict, evaluate, for_control
from vjepa_stress.verdict.gate import gate
from vjepa_stress.verdict.judge import judge
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.plan import EstimationPlan, compute
from vjepa_stress.verdict.power import operating_characteristics
from vjepa_stress.verdict.table import Table

HOW = Resampling(resamples=1000, seed=5)


@pytest.fixture(autouse=True)
def _no_videos() -> Iterator[None]:
    """No document of these tests may have a video design."""
    with toy.only_toys():
        yield


def table(of: Preregistration) -> Table:
    """What shards in the toy's columns come to."""
    shards = {cell: pa.Table.from_pylist(toy.rows(cell), schema=shard_schema(of.design)) for cell in of.design.cells}
    return Table.of(shards, tuple(of.design.columns), of.design.unit)


def values(**levels: Any) -> np.ndarray:
    """(questions, cells) by an independent look at the cells."""
    cells = [Cell({"temperature": t, "prompt": p}) for t in TEMPERATURES for p in toy.PROMPTS]
    chosen = [cell for cell in cells if all(cell[name] == level for name, level in levels.items())]
    return np.stack([toy.accuracy(cell) for cell in chosen], axis=1)


def found(estimand: dict[str, Any]) -> Estimate:
    document = sketch.document(
        toy.fields(), [sketch.hypothesis("H1", {"x": estimand}, sketch.reading("x", estimand))]
    )
    return compute(document.hypotheses[0].estimands["x"], table(document), document.design, HOW, strict=True)


def test_a_document_survives_its_bytes_and_its_schema() -> None:
    document = toy.document()
    assert freeze.from_bytes(freeze.to_bytes(document), "here") == document
    assert isinstance(document.design, toy.ToyDesign)
    with pytest.raises(ValidationError, match="unknown kind of design 'video'; known: toy"):
        sketch.document(
            sketch.design(sketch.cells(["a"], ["b"], ["identity"]), clips={"a": 9}),
            [sketch.hypothesis("H1", ESTIMANDS, toy.RULE)],
        )


def test_a_kind_that_is_added_later_is_known_to_the_schema() -> None:
    """Documents may have been validated before."""
    value = parse_json(freeze.to_bytes(toy.document()))
    designs._KINDS.clear()
    designs.add_kind("video", VideoDesign)
    cells = sketch.cells(["a"], ["b"], ["identity"])
    mean = {"statistic": "mean", "metric": "M1", "where": {}}
    video = sketch.document(
        sketch.design(cells, clips={"a": 9}), [sketch.hypothesis("H1", {"x": mean}, sketch.threshold("x", 1.0, 0.5))]
    )
    data = freeze.to_bytes(video)
    assert freeze.from_bytes(data, "here") == video
    designs.add_kind("toy", toy.ToyDesign)
    assert validate(Preregistration, value, "here") == toy.document()
    assert freeze.from_bytes(data, "here") == video


def test_a_kind_has_one_class() -> None:
    with pytest.raises(ValueError, match="kind 'toy' already refers to ToyDesign"):
        designs.add_kind("toy", VideoDesign)


def test_nothing_of_a_video_is_in_the_document() -> None:
    written = freeze.to_bytes(toy.document()).decode()
    for name in ("dataset", "model", "perturbation", "strength", "clip_manifest", "weights"):
        assert f'"{name}' not in written


def test_filters_name_its_factors() -> None:
    design = toy.document().design
    assert {cell["prompt"] for cell in design.select(Where())} == {"terse", "chatty"}  # controls are named
    some = design.select(Where.model_validate({"prompt": [CONTROL], "temperature": [0.0, 1.5]}))
    assert some == (
        Cell({"prompt": CONTROL, "temperature": 0.0}),
        Cell({"prompt": CONTROL, "temperature": 1.5}),
    )
    with pytest.raises(ValueError, match=r"unknown factor 'strength'; a toy design has \['temperature', 'prompt'\]"):
        design.select(Where.model_validate({"strength": [0.5]}))


@pytest.mark.parametrize(
    ("estimand", "text"),
    [
        ({**ESTIMANDS["share"], "where": {"perturbation": ["noise"]}}, "unknown factor 'perturbation'; a toy design"),
        ({**ESTIMANDS["share"], "where": {"temperature": [0.25]}}, "selects no cell"),
        ({**ESTIMANDS["share"], "where": {"temperature": [0.0, 9.0]}}, r"temperature 9.0 selects no cell"),
        ({**ESTIMANDS["share"], "metric": "M2"}, "unknown metric 'M2'; the design has"),
        ({**ESTIMANDS["share"], "where": {"rows": [{"column": "clip", "equals": "q"}]}}, "unknown column 'clip'"),
        (
            {**ESTIMANDS["share"], "where": {"rows": [{"column": "words", "equals": "q"}]}},
            "only `question` can equal a string",
        ),
        (
            {**ESTIMANDS["loss"], "along": "strength"},
            r"unknown numeric factor 'strength'; the design has \['temperature'",
        ),
        ({**ESTIMANDS["loss"], "along": "prompt"}, "unknown numeric factor 'prompt'"),
        ({**ESTIMANDS["falls"], "where": TERSE, "levels": [0.0, 9.0]}, "selects no cell"),
        ({**ESTIMANDS["gain"], "minus": {**TERSE, "temperature": list(TEMPERATURES)}}, "select the same cells"),
    ],
)
def test_estimands_that_do_not_fit_it(estimand: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        found(estimand)


def test_estimates_are_those_of_the_arrays() -> None:
    for name, expected in (
        ("share", bootstrap_mean(values(prompt="terse"), HOW)),
        ("loss", trend(values(prompt="terse"), TEMPERATURES, HOW)),
    ):
        one = found(ESTIMANDS[name])
        whole = {"overall"}
        assert one.model_dump(exclude=whole) == pytest.approx(expected.model_dump(exclude=whole), abs=1e-12)
        assert (one.overall is None) == (expected.overall is None)
    subjects = {t: np.hstack([values(prompt=p, temperature=t) for p in ("chatty", "terse")]) for t in TEMPERATURES}
    assert found(ESTIMANDS["falls"]) == jumps([subjects[t] for t in TEMPERATURES], HOW, interval="max-t")
    assert found(ESTIMANDS["best"]).value == subjects[0.0].max()
    assert found(ESTIMANDS["gain"]).value == pytest.approx(
        values(prompt="terse").mean() - values(prompt="chatty").mean(), abs=1e-12
    )


def test_rows_are_filtered_by_its_columns() -> None:
    terse = values(prompt="terse")
    high = found({**ESTIMANDS["share"], "where": {**TERSE, "rows": [{"column": "accuracy", "at_least": 0.7}]}})
    assert high.value == pytest.approx(terse[terse >= 0.7].mean(), abs=1e-12)
    few = found({**ESTIMANDS["share"], "where": {**TERSE, "rows": [{"column": "words", "at_most": 4}]}})
    assert few.value == pytest.approx(terse[:5].mean(), abs=1e-12)
    assert few.n == 5
    one = {"column": "question", "equals": QUESTIONS[7]}
    assert found({**ESTIMANDS["best"], "where": {**TERSE, "rows": [one]}}).value == terse[7].max()


def test_a_plan_reads_other_tables_with_the_same_cells() -> None:
    document = toy.document()
    first = table(document)
    plan = EstimationPlan.of(document.hypotheses[0].estimands["share"], first, document.design)
    holed = {**first.values, "accuracy": first.values["accuracy"].copy()}
    (column, *_) = first.columns(document.design.select(Where.model_validate(TERSE)))
    holed["accuracy"][3, column] = np.nan
    other = Table(first.cells, first.units, holed, first.present)
    strict = plan.read(other, HOW, strict=True)
    assert isinstance(strict, Estimate)
    assert strict.notes == (Note(code="undefined-values", value=1, columns=("accuracy",)),)
    assert plan.read(other, HOW, strict=False).notes == (Note(code="values-left-out", value=1),)


def test_it_is_judged_and_explained() -> None:
    document = toy.document()
    (hypothesis,) = document.hypotheses
    seen = {
        name: compute(one, table(document), document.design, resampling(document), strict=True)
        for name, one in hypothesis.estimands.items()
    }
    verdict = judge(hypothesis.rule, seen)
    assert verdict.outcome == "confirmed"
    explained = verdicts.explain(verdict, seen)
    assert "the interval of share is inside [0.3, 0.9]" in explained
    assert (
        words.method(seen["share"], document.design.unit)
        == "bootstrap over questions, percentiles at an expanded level"
    )


def test_controls_are_levels_of_its_own_factor() -> None:
    document = toy.document()
    estimands = document.hypotheses[0].estimands
    mean = for_control(estimands["share"], CONTROL, document.design)
    assert mean is not None
    assert [where.levels for where in mean.filters()] == [{"prompt": (CONTROL,)}]
    assert for_control(estimands["gain"], CONTROL, document.design) is None  # it compares prompts
    falls = for_control(estimands["falls"], CONTROL, document.design)
    assert falls is not None
    assert falls.filters()[0].levels == {"prompt": (CONTROL,), "temperature": (0.0,)}


def test_check_finds_what_is_wrong_with_it() -> None:
    assert {one.code for one in check(toy.document())} == {"no-calibration", "no-scenarios", "few-alternatives"}
    band = {"kind": "band", "estimand": "x", "low": 0.0, "high": 1.0}
    for estimand, rule, code in (
        (ESTIMANDS["share"], band, "vacuous"),
        (ESTIMANDS["share"], {**band, "high": 1.5}, "out-of-range"),
        (
            {**ESTIMANDS["loss"], "where": {"temperature": [0.0, 1.0]}},
            sketch.reading("x", ESTIMANDS["loss"]),
            "too-few-levels",
        ),
    ):
        (first, *_) = check(sketch.document(toy.fields(), [sketch.hypothesis("H1", {"x": estimand}, rule)]))
        assert (first.severity, first.code) == ("error", code)
    (narrow,) = (
        one
        for one in check(
            sketch.document(
                toy.fields(),
                [sketch.hypothesis("H1", {"x": ESTIMANDS["share"]}, {**band, "low": 0.5, "high": 0.501})],
            )
        )
        if one.severity == "warning"
    )
    assert narrow.values["sources"] == len(QUESTIONS)
    bare = toy.fields()
    bare["prompts"][CONTROL]["control"] = False
    suggestions = check(sketch.document(bare, [sketch.hypothesis("H1", ESTIMANDS, toy.RULE)]))
    (missing,) = (one for one in suggestions if one.code == "no-control")
    assert missing.values == {"factor": "prompt"}
    assert "no prompt is a control" in words.finding(missing)


def test_its_studies_are_simulated() -> None:
    """A mean of 30 questions against a threshold that lies where it is, and one beyond its reach."""
    estimands = {"share": {**ESTIMANDS["share"], "where": {**TERSE, "temperature": [1.0]}}}
    even, sure = (sketch.threshold("share", at, at, "point") for at in (0.5, 0.1))
    document = sketch.document(
        toy.fields(), [sketch.hypothesis("H1", estimands, even), sketch.hypothesis("H2", estimands, sure)]
    )
    effect = {"metric": "accuracy", "where": TERSE, "mean": 0.7, "slope": -0.2, "along": "temperature", "sd": 0.1}
    dependence = {"accuracy": dict.fromkeys(document.design.factor_names, 0.3)}
    given = {"kind": "given", "says": "…", "effects": [effect], "dependence": dependence}
    plan = {"scenarios": {"one": given}, "studies": 2000, "resamples": 1000, "seed": 3}
    chances = operating_characteristics(document, Plan.model_validate(plan)).chances["one"]
    assert chances["H1"].confirmed.p == pytest.approx(0.5, abs=3.5 * 0.5 / 2000**0.5)  # symmetric about 0.5
    assert chances["H2"].confirmed.p == 1
    for changed, text in (
        ({**effect, "along": "strength"}, "unknown numeric factor 'strength'"),
        ({**effect, "where": {"model": ["base"]}}, "unknown factor 'model'; a toy design"),
    ):
        wrong = {**plan, "scenarios": {"one": {**given, "effects": [changed]}}}
        with pytest.raises(ValueError, match=text):
            sketch.document(
                toy.fields(),
                list(document.model_dump(mode="json")["hypotheses"]),
                operating_characteristics={**wrong, "chances": {"one": {}}},
            )


@pytest.mark.parametrize("pinned", [True, False])
def test_its_evidence_passes_the_gate_and_is_judged(pinned: bool, tmp_path: Path) -> None:
    root, document = toy.root(tmp_path), toy.document(pinned=pinned)
    toy.run(root, document)
    evidence = gate(root, "toy")
    assert evidence.objections == ()
    assert evidence.table.units == QUESTIONS
    for name, expected in table(document).values.items():
        np.testing.assert_array_equal(evidence.table.values[name], expected)
    assert [(one.code, one.values) for one in evidence.deviations] == (
        [] if pinned else [("pinned-late", {"kind": "questions", "name": "exam"})]
    )
    study = evaluate(evidence)
    (verdict,) = study.hypotheses
    assert verdict.verdict == "confirmed"
    assert set(verdict.controls[CONTROL]) == set(ESTIMANDS) - {"gain", "times"}
    assert all(record.shards for record in verdict.estimates.values())
    again = StudyVerdict.model_validate(parse_json(study.to_bytes()))
    assert again.to_bytes() == study.to_bytes() == canonical_json(parse_json(study.to_bytes()))


def other(*, status: str, exam: bytes) -> tuple[Preregistration, dict[str, bytes]]:
    """Another study, of these questions."""
    fields = {**toy.fields(), "exam": sha256(exam)}
    promised = sketch.document(
        fields, [sketch.hypothesis("H1", ESTIMANDS, toy.RULE)], study="other", data_status=status
    )
    return promised, {"exam": exam}


def test_the_ledger_knows_which_questions_were_asked(tmp_path: Path) -> None:
    root = toy.root(tmp_path)
    toy.run(root, toy.document(pinned=False))
    some = canonical_json({"questions": [*QUESTIONS[:1], *(f"new{n}" for n in QUESTIONS[1:])]})
    with pytest.raises(StatusTooEarly, match="before-creation is too early"):
        freeze.register(root, *other(status="before-creation", exam=some))
    freeze.register(root, *other(status="before-observation", exam=some))


def test_questions_that_nobody_asked_are_new(tmp_path: Path) -> None:
    root = toy.root(tmp_path)
    toy.run(root, toy.document(pinned=False))
    new = canonical_json({"questions": [f"new{n}" for n in QUESTIONS]})
    freeze.register(root, *other(status="before-creation", exam=new))
    assert freeze.load(root, "other").document.data_status == "before-creation"


def lost(cell: Cell, rows: list[Row]) -> list[Row]:
    return rows[1:] if cell["temperature"] == 0.5 else rows


def impossible(cell: Cell, rows: list[Row]) -> list[Row]:
    return [{**row, "accuracy": 1.5} for row in rows] if cell["prompt"] == CONTROL else rows


def flagged(cell: Cell, rows: list[Row]) -> list[Row]:
    return [{**row, "accuracy": None, "non_finite": True} for row in rows] if cell["prompt"] == CONTROL else rows


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lost, RowsMissing, "one row for each registered question"),
        (impossible, FlaggedValues, "out of range: accuracy"),
        (flagged, FlaggedValues, "non-finite"),
    ],
)
def test_the_gate_objects_to_its_shards(change: Any, error: type[Exception], text: str, tmp_path: Path) -> None:
    root = toy.root(tmp_path)
    toy.run(root, toy.document(pinned=False), change)
    with pytest.raises(error, match=text):
        gate(root, "toy")
    evidence = gate(root, "toy", exploratory=True)
    assert {type(one) for one in evidence.objections} == {error}
    assert evaluate(evidence).exploratory


def test_a_changed_shard_is_tampering(tmp_path: Path) -> None:
    root = toy.root(tmp_path)
    toy.run(root, toy.document(pinned=False))
    path = sorted(tmp_path.rglob("shard.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ShardTampered):
        gate(root, "toy")
