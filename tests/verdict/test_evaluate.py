"""From evidence to a study's verdict: controls and promised analyses beside it, the same bytes every time."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.verdict import sketch
from vjepa_stress.digest import parse_json, sha256
from vjepa_stress.errors import CellsIncomplete
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.report import words
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict import estimate
from vjepa_stress.verdict.evaluate import HypothesisVerdict, StudyVerdict, evaluate
from vjepa_stress.verdict.gate import Evidence
from vjepa_stress.verdict.table import Table

STRENGTHS = [0.2, 0.6, 1.0]
DESIGN = sketch.design(
    sketch.cells(["davis"], ["base", "large", "twin"], ["noise", "drops"], STRENGTHS),
    clips={"davis": 9},
    controls=["twin"],
)
NOISE, DROPS = {"perturbation": ["noise"]}, {"perturbation": ["drops"]}
ESTIMANDS: dict[str, Any] = {
    "mean": {"statistic": "mean", "metric": "M2", "where": NOISE},
    "ratio": {"statistic": "ratio_of_means", "metric": "M2", "numerator": NOISE, "denominator": DROPS},
    "gap": {"statistic": "difference", "metric": "M2", "of": NOISE, "minus": {**NOISE, "model": ["twin"]}},
    "rise": {"statistic": "trend", "along": "strength", "metric": "M2", "where": NOISE},
    "r": {"statistic": "pearson", "x": "M2", "y": "dM3", "where": {}, "interval": "fisher"},
    "rho": {"statistic": "spearman", "x": "M2", "y": "dM3", "where": {}},
    "sizes": {"statistic": "jumps", "metric": "M2", "along": "model", "levels": ["base", "large"], "where": NOISE},
    "top": {"statistic": "maximum", "metric": "M2", "where": NOISE},
}
RULE = {"kind": "any_of", "of": [sketch.reading(name, estimand) for name, estimand in ESTIMANDS.items()]}
CLUSTER = {"kind": "cluster", "hypothesis": "H1", "estimand": "r"}


def study(**more: Any) -> Preregistration:
    return sketch.document(DESIGN, [sketch.hypothesis("H1", ESTIMANDS, RULE)], **more)


def evidence(document: Preregistration, table: Table) -> Evidence:
    """What the gate would let through, but for the files."""
    digest = sha256(b"")
    stored = SimpleNamespace(manifest=SimpleNamespace(shard_digest=digest))
    registration: Any = SimpleNamespace(document=document, digest=digest, root_digest=digest, lineage=())
    checkpoint: Any = SimpleNamespace(size=1, root=digest)
    cells: Any = dict.fromkeys(document.design.cells, stored)
    return Evidence(registration, 1, cells, table, (), checkpoint, (), ())


def judged(document: Preregistration) -> HypothesisVerdict:
    (verdict,) = evaluate(evidence(document, sketch.table(document))).hypotheses
    return verdict


def test_every_estimand_is_computed_and_put_beside_the_controls() -> None:
    verdict = judged(study())
    assert list(verdict.estimates) == list(ESTIMANDS)
    assert all(record.estimate.defined for record in verdict.estimates.values())
    # What compares models has nothing to say of one control.
    assert set(verdict.controls["twin"]) == set(ESTIMANDS) - {"sizes", "gap"}
    assert verdict.sensitivity == ()
    assert verdict.estimates["sizes"].estimate.overall == verdict.estimates["sizes"].estimate.steps[0]


def test_a_promised_cluster_bootstrap_stands_beside_the_fisher_interval() -> None:
    document = study(sensitivity=[CLUSTER])
    (record,) = judged(document).sensitivity
    table = sketch.table(document)
    columns = [n for n, cell in enumerate(sketch.video(table.cells)) if cell.model != "twin"]
    x, y = (table.values[name][:, columns] for name in ("M2", "dM3"))
    how = Resampling(resamples=1000, seed=5)
    assert record.estimate == estimate.pearson(x, y, how, interval="expanded")
    assert record.estimate.value == judged(document).estimates["r"].estimate.value
    assert record.verdict in {"confirmed", "ambiguous", "refuted"}


def test_a_sensitivity_analysis_can_say_something_else_and_decides_nothing() -> None:
    """Nine clips that agree with each other in every cell: 54 pairs for Fisher, nine for the clusters."""
    band = {"kind": "band", "estimand": "r", "low": -0.9, "high": 0.9}
    only = sketch.hypothesis("H1", {"r": ESTIMANDS["r"]}, band)
    document = sketch.document(DESIGN, [only], sensitivity=[CLUSTER])
    table, chance = sketch.table(document), np.random.default_rng(1)
    x, noise = chance.normal(size=(2, 9, 1))
    values = {
        **table.values,
        "M2": np.repeat(x, len(table.cells), axis=1),
        "dM3": np.repeat(x + 2 * noise, len(table.cells), axis=1),
    }
    (verdict,) = evaluate(evidence(document, Table(table.cells, table.units, values, table.present))).hypotheses
    (record,) = verdict.sensitivity
    assert (verdict.verdict, record.verdict) == ("confirmed", "ambiguous")


@pytest.mark.parametrize(
    "promised",
    [
        {**CLUSTER, "estimand": "mean"},
        {**CLUSTER, "estimand": "nothing"},
        {**CLUSTER, "hypothesis": "H2"},
        {**CLUSTER, "kind": "coin"},
    ],
)
def test_analyses_that_cannot_be_promised(promised: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"not a correlation with a Fisher interval|cluster"):
        study(sensitivity=[promised])


def test_judged_twice_gives_the_same_bytes() -> None:
    document = study(sensitivity=[CLUSTER])
    first, second = (evaluate(evidence(document, sketch.table(document))).to_bytes() for _ in range(2))
    assert first == second
    assert StudyVerdict.model_validate(parse_json(first)).to_bytes() == first


def test_what_says_nothing_is_not_written() -> None:
    only = sketch.hypothesis("H1", {"top": ESTIMANDS["top"]}, sketch.threshold("top", 0.4, 0.1))
    verdict = judged(sketch.document(DESIGN, [only])).model_dump(mode="json")
    assert "sensitivity" not in verdict
    assert verdict["estimates"]["top"]["estimand"]["where"] == {"perturbation": ["noise"]}
    assert "steps" not in verdict["estimates"]["top"]["estimate"]


def specific(family: str = "drift", objections: tuple[Any, ...] = ()) -> tuple[HypothesisVerdict, ...]:
    """Three rules that subjects meet: the control meets the first, not the second; the third has no meaning on it."""
    whole, top = ({"x": {"statistic": "mean", "metric": "M2", "where": NOISE}} for _ in range(2))
    both = {**whole, "gap": ESTIMANDS["gap"]}
    pair = {"kind": "any_of", "of": [sketch.threshold(name, 0.1, 0.0) for name in both]}
    document = sketch.document(
        DESIGN,
        [
            sketch.hypothesis("H1", whole, sketch.threshold("x", 0.1, 0.0), family),
            sketch.hypothesis("H2", top, sketch.threshold("x", 0.7, 0.4), family),
            sketch.hypothesis("H3", both, pair, family),
        ],
    )
    table = sketch.table(document)
    subject = np.array([cell.model != "twin" for cell in sketch.video(table.cells)])
    values = {**table.values, "M2": 0.2 + 0.1 * table.values["M2"] + 0.7 * subject}
    found = evidence(document, Table(table.cells, table.units, values, table.present))
    return evaluate(type(found)(**{**vars(found), "objections": objections})).hypotheses


def test_the_rule_is_applied_to_the_controls_too() -> None:
    h1, h2, h3 = specific()
    assert [one.verdict for one in (h1, h2, h3)] == ["confirmed"] * 3
    assert (h1.controls_outcome, h2.controls_outcome, h3.controls_outcome) == (
        {"twin": "confirmed"},
        {"twin": "refuted"},
        {},
    )
    assert words.not_specific(h1) == "not specific: the control twin passes too"
    assert words.not_specific(h2) == words.not_specific(h3) == ""


def test_a_control_that_passes_a_gate_is_as_it_should_be() -> None:
    h1, _, _ = specific("calibration")
    assert h1.controls_outcome == {"twin": "confirmed"}
    assert words.not_specific(h1) == ""


def test_exploratory_controls_have_exploratory_outcomes() -> None:
    h1, h2, _ = specific(objections=(CellsIncomplete("cells are missing", where="here"),))
    assert (h1.controls_outcome, h2.controls_outcome) == (
        {"twin": "exploratory-for"},
        {"twin": "exploratory-against"},
    )
    assert words.not_specific(h1) == "not specific: the control twin passes too"
