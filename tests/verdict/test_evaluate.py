"""From evidence to a study's verdict: controls and promised analyses beside it, the same bytes every time."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.verdict import sketch
from vjepa_stress.digest import parse_json, sha256
from vjepa_stress.errors import CellsIncomplete
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.report import verdicts
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
    "r": {"statistic": "pearson", "x": "M2", "y": "dM3", "where": {}},
    "rho": {"statistic": "spearman", "x": "M2", "y": "dM3", "where": {}},
    "sizes": {"statistic": "jumps", "metric": "M2", "along": "model", "levels": ["base", "large"], "where": NOISE},
    "top": {"statistic": "maximum", "metric": "M2", "where": NOISE},
}
RULE = {"kind": "any_of", "of": [sketch.reading(name, estimand) for name, estimand in ESTIMANDS.items()]}
FISHER = {"name": "fisher", "hypothesis": "H1", "interval": "fisher"}


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
    assert verdict.alternatives == ()
    assert verdict.estimates["sizes"].estimate.overall == verdict.estimates["sizes"].estimate.steps[0]


def test_an_alternative_can_say_something_else_and_decides_nothing() -> None:
    """Nine clips that agree with each other in every cell: 54 pairs for Fisher, nine for the clusters."""
    band = {"kind": "band", "estimand": "r", "low": -0.9, "high": 0.9}
    only = sketch.hypothesis("H1", {"r": ESTIMANDS["r"]}, band)
    seed = {"name": "seed", "seed": 9}
    document = sketch.document(DESIGN, [only], sensitivity=[FISHER, seed])
    table, chance = sketch.table(document), np.random.default_rng(1)
    x, noise = chance.normal(size=(2, 9, 1))
    values = {
        **table.values,
        "M2": np.repeat(x, len(table.cells), axis=1),
        "dM3": np.repeat(x + 2 * noise, len(table.cells), axis=1),
    }
    seen = evidence(document, Table(table.cells, table.units, values, table.present))
    (verdict,) = evaluate(seen).hypotheses
    # A jackknife has no resamples, so that another seed changes nothing.
    assert [(one.name, one.outcome) for one in verdict.alternatives] == [("fisher", "confirmed"), ("seed", None)]
    assert verdict.verdict == "ambiguous"
    assert verdicts.agreement(verdict) == "0 of 1 alternative agree"
    # Exploratory outcomes say so; without a cell nothing is compared.
    objecting = {**vars(seen), "objections": (CellsIncomplete("a cell is missing", where="here"),)}
    (found,) = evaluate(Evidence(**objecting)).hypotheses
    assert [one.outcome for one in found.alternatives] == ["exploratory-for", None]
    some = dict(list(seen.cells.items())[1:])
    (found,) = evaluate(Evidence(**{**objecting, "cells": some})).hypotheses
    assert found.alternatives == ()


def test_a_gated_hypothesis_has_no_alternatives() -> None:
    gate = sketch.hypothesis(
        "C1", {"top": ESTIMANDS["top"]}, sketch.threshold("top", 3.0, 2.0, "point"), "calibration"
    )
    document = sketch.document(
        DESIGN,
        [gate, sketch.hypothesis("H1", ESTIMANDS, RULE)],
        sensitivity=[{"name": "noise", "where": NOISE}, FISHER],
    )
    one, other = evaluate(evidence(document, sketch.table(document))).hypotheses
    assert (one.verdict, other.verdict, other.alternatives) == ("refuted", "not-evaluable", ())
    assert [(record.name, record.outcome) for record in one.alternatives] == [("noise", None)]


def test_judged_twice_gives_the_same_bytes() -> None:
    document = study(sensitivity=[FISHER])
    first, second = (evaluate(evidence(document, sketch.table(document))).to_bytes() for _ in range(2))
    assert first == second
    assert StudyVerdict.model_validate(parse_json(first)).to_bytes() == first


def test_what_says_nothing_is_not_written() -> None:
    only = sketch.hypothesis("H1", {"top": ESTIMANDS["top"]}, sketch.threshold("top", 0.4, 0.1))
    verdict = judged(sketch.document(DESIGN, [only])).model_dump(mode="json")
    assert "alternatives" not in verdict
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
    assert verdicts.not_specific(h1) == "not specific: the control twin passes too"
    assert verdicts.not_specific(h2) == verdicts.not_specific(h3) == ""


def test_a_control_that_passes_a_gate_is_as_it_should_be() -> None:
    h1, _, _ = specific("calibration")
    assert h1.controls_outcome == {"twin": "confirmed"}
    assert verdicts.not_specific(h1) == ""


def test_exploratory_controls_have_exploratory_outcomes() -> None:
    h1, h2, _ = specific(objections=(CellsIncomplete("cells are missing", where="here"),))
    assert (h1.controls_outcome, h2.controls_outcome) == (
        {"twin": "exploratory-for"},
        {"twin": "exploratory-against"},
    )
    assert verdicts.not_specific(h1) == "not specific: the control twin passes too"
