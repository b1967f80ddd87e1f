"""Association without dose in documents: what is refused and warned of, and what verdict and report give beside r."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.verdict import sketch, test_partition
from tests.verdict.test_evaluate import evidence
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.report import words
from vjepa_stress.report.page import _beside, _read
from vjepa_stress.statistics import STATISTICS
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict import estimate
from vjepa_stress.verdict.check import Finding, check, value_range
from vjepa_stress.verdict.evaluate import HypothesisVerdict, evaluate
from vjepa_stress.verdict.gee import LEAST, gee
from vjepa_stress.verdict.table import Table

STRENGTHS = [0.2, 0.6, 1.0]
CELLS = sketch.cells(["davis"], ["base", "large", "twin"], ["noise", "drops"], STRENGTHS)
PAIR = {"x": "M2", "y": "dM3", "where": {}}
BEYOND: dict[str, Any] = {"statistic": "incremental", **PAIR, "beyond": ["perturbation", "strength"]}
LEFT_OUT = {"statistic": "transfer", **PAIR, "leave_out": "perturbation"}
AREA = {"statistic": "auroc", **PAIR, "failure_at": 0.25}
WITHIN = {"statistic": "within_cell", **PAIR}
POOLED = {"statistic": "pearson", **PAIR}
RANKS = {"statistic": "spearman", **PAIR}
ONE = {"model": ["base"], "perturbation": ["noise"], "strength": [0.2]}


def study(*estimands: dict[str, Any], clips: int = 60, **more: Any) -> Preregistration:
    """One hypothesis that reads all estimands, with a control."""
    named = {f"e{n}": estimand for n, estimand in enumerate(estimands)}
    rule = {"kind": "any_of", "of": [sketch.threshold(name, 0.5, 0.1) for name in named]}
    design = sketch.design(CELLS, clips={"davis": clips}, controls=["twin"])
    return sketch.document(design, [sketch.hypothesis("H1", named, rule)], **more)


def mixed(document: Preregistration) -> list[Finding]:
    return [one for one in check(document) if one.code == "mixes-cells"]


@pytest.mark.parametrize("pooled", [POOLED, RANKS])
def test_a_pooled_correlation_is_a_warning(pooled: dict[str, Any]) -> None:
    (warning,) = mixed(study(pooled))
    assert (warning.severity, warning.where, warning.blocks) == ("warning", "H1.e0", True)
    text = words.finding(warning)
    assert "it pools 12 cells" in text
    assert "`within_cell`" in text
    known = {"warning": "mixes-cells", "hypothesis": "H1", "estimand": "e0", "reason": "dose is of interest"}
    (acknowledged,) = mixed(study(pooled, acknowledged=[known]))
    assert not acknowledged.blocks
    assert "dose is of interest" in words.finding(acknowledged)


def test_other_estimands_are_not_warned_of() -> None:
    alone = [{**one, "where": ONE} for one in (POOLED, RANKS)]
    assert mixed(study(*alone, WITHIN, BEYOND, LEFT_OUT, AREA)) == []


@pytest.mark.parametrize(
    ("estimand", "message"),
    [
        ({**BEYOND, "beyond": ["flavour"]}, "H1.e0: beyond: unknown factor 'flavour'; the design has dataset, model"),
        ({**BEYOND, "beyond": []}, "at least 1 item"),
        ({**BEYOND, "beyond": ["strength", "strength"]}, "duplicate factors: strength, strength"),
        ({**LEFT_OUT, "leave_out": "flavour"}, "H1.e0: leave_out: unknown factor 'flavour'"),
        ({**LEFT_OUT, "where": {"perturbation": ["noise"]}}, "a single level of perturbation"),
        ({**AREA, "failure_at": 1.5}, "failure_at must be above -1 and at most 1, the range of dM3; found 1.5"),
        ({**AREA, "failure_at": -1.0}, "failure_at must be above -1"),
        ({**WITHIN, "y": "M2"}, "use two different metrics"),
        ({**WITHIN, "y": "M9"}, "unknown metric 'M9'"),
        ({**WITHIN, "interval": "fisher"}, "jackknife"),
    ],
)
def test_estimands_that_are_refused(estimand: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        study(estimand)


def test_ranges_and_twins() -> None:
    document = study(WITHIN, BEYOND, LEFT_OUT, AREA)
    (hypothesis,) = document.hypotheses
    ranges = [value_range(one, document.design) for one in hypothesis.estimands.values()]
    assert ranges == [(-1, 1), (-np.inf, np.inf), (-np.inf, 1), (0, 1)]
    assert not [one for one in check(document) if one.severity == "error" and one.where.startswith("H1.")]
    design = sketch.design(CELLS, clips={"davis": 60})
    design["metrics"]["M2"] |= {"columns": ("M2", "M2a"), "aligned": {"M2": "M2a"}}
    for one in (WITHIN, BEYOND, LEFT_OUT, AREA):
        twins = sketch.hypothesis("H1", {"e": {**one, "x": "M2", "y": "M2a"}}, sketch.threshold("e", 0.5, 0.1))
        (error,) = [
            one
            for one in check(sketch.document(design, [twins]))
            if one.severity == "error" and one.where.startswith("H1.")
        ]
        assert error.code == "same-number"
        assert words.finding(error).startswith("error (same-number) H1.e: M2 and M2a are equal when")


def test_what_makes_two_estimands_different() -> None:
    design = study(WITHIN).design
    different = [
        BEYOND,
        {**BEYOND, "beyond": ["strength"]},
        {**BEYOND, "x": "dM3", "y": "M2"},
        LEFT_OUT,
        {**LEFT_OUT, "leave_out": "strength"},
        AREA,
        {**AREA, "failure_at": 0.5},
    ]
    meanings = [STATISTICS[one["statistic"]].model_validate(one).meaning(design) for one in different]
    assert len(set(meanings)) == len(different)
    same = STATISTICS["incremental"].model_validate({**BEYOND, "beyond": ["strength", "perturbation"]})
    assert same.meaning(design) == meanings[0]


def test_words_name_the_fields() -> None:
    (hypothesis,) = study(WITHIN, BEYOND, LEFT_OUT, AREA).hypotheses
    assert [words.estimand(one) for one in hypothesis.estimands.values()] == [
        "correlation of M2 with dM3 within cells",
        "gain in held-out R² of dM3 when M2 is added to means by perturbation, strength",
        "held-out R² of dM3 predicted from M2 at each perturbation that is left out",
        "area under the ROC curve of M2 for failures, dM3 ≥ 0.25",
    ]


def dose(document: Preregistration, r: float) -> Table:
    """M2 and dM3 that rise with strength, and correlate by r in every cell."""
    table, chance = sketch.table(document), np.random.default_rng(0)
    strength = np.array([float(cell["strength"] or 0) for cell in table.cells])
    x, noise = chance.normal(size=(2, *table.present.shape))
    y = r * x + np.sqrt(1 - r**2) * noise
    values = {**table.values, "M2": 0.5 + strength + 0.1 * x, "dM3": 0.8 * strength - 0.4 + 0.1 * y}
    return Table(table.cells, table.units, values, table.present)


def judged(document: Preregistration, table: Table) -> HypothesisVerdict:
    (verdict,) = evaluate(evidence(document, table)).hypotheses
    return verdict


def test_the_correlation_within_cells_is_beside_every_pooled_one() -> None:
    document = study(POOLED, RANKS, WITHIN, {**POOLED, "where": ONE})
    table = dose(document, -0.5)
    verdict = judged(document, table)
    columns = {
        control: [n for n, cell in enumerate(sketch.video(table.cells)) if (cell.model == "twin") == control]
        for control in (True, False)
    }
    how = Resampling(resamples=1000, seed=5)
    subjects, twin = (
        estimate.within_cell(
            table.values["M2"][:, columns[control]], table.values["dM3"][:, columns[control]], range(width), how
        )
        for control, width in ((False, 12), (True, 6))
    )
    for name in ("e0", "e1"):
        record = verdict.estimates[name]
        assert (record.estimate.value or 0) > 0.8
        assert record.companion is not None
        assert record.companion.estimate == subjects
        assert record.companion.controls == {"twin": twin}
        assert subjects.value == pytest.approx(-0.5, abs=0.06)
    # What is already within cells, and what pools nothing, needs no companion.
    assert verdict.estimates["e2"].companion is None
    assert verdict.estimates["e3"].companion is None
    assert verdict.estimates["e2"].estimate == subjects


def test_it_is_computed_at_the_level_of_the_hypothesis_and_decides_nothing() -> None:
    document = study(POOLED)
    rule = sketch.threshold("e0", 0.5, 0.1)
    several = [sketch.hypothesis(name, {"e0": POOLED}, rule) for name in ("H1", "H2", "H3")]
    family = sketch.document(
        document.design.model_dump(mode="json"), several, analysis={"multiplicity": "bonferroni"}
    )
    table = dose(document, -0.5)
    plain, corrected = (evaluate(evidence(one, table)).hypotheses[0] for one in (document, family))
    one, other = (verdict.estimates["e0"].companion for verdict in (plain, corrected))
    assert one is not None
    assert other is not None
    assert one.estimate.value == other.estimate.value
    assert (other.estimate.low or 0) < (one.estimate.low or 0)
    assert plain.verdict == "confirmed"


def test_reports_print_it_beside_r() -> None:
    document = study(POOLED)
    verdict = judged(document, dose(document, -0.5))
    record = verdict.estimates["e0"]
    assert record.companion is not None
    one = record.companion.estimate
    said = f"within cells {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
    assert _beside("clip", record) == said
    assert verdict.decision is not None
    (part,) = verdict.decision.parts
    assert _read("clip", verdict, part).endswith(f"; {said})")
    assert _beside("clip", record, "twin") != said
    assert _beside("clip", record, "twin").startswith("within cells -0.")
    assert _beside("clip", record, "no control") == ""
    few = study(POOLED, clips=1)
    alone = judged(few, dose(few, -0.5)).estimates["e0"]
    assert _beside("question", alone) == "within cells undefined: fewer than two questions have a value"
    assert _beside("clip", record.model_copy(update={"companion": None})) == ""


@pytest.mark.parametrize("control", [None, "twin"])
@pytest.mark.parametrize("name", test_partition.GROUPS)
def test_the_partition_has_the_correlation_within_cells(name: str, control: str | None) -> None:
    of = test_partition.design(plain=5)
    table = test_partition.world(of, {"image-noise": 0.1, "time-axis": 0.7})
    for values in table.values.values():
        values += [4 * (cell.strength or 0) for cell in sketch.video(table.cells)]
    table.values["dM3"][3, ::2] = np.nan
    said = test_partition.one(test_partition.found(table, of), name, control)
    x, y = test_partition.side(table, test_partition.GROUPS[name], [control] if control else ["base", "large"])
    expected = estimate.within_cell(x, y, range(x.shape[1]), test_partition.HOW)
    assert (said.within.value, said.within.low, said.within.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-12
    )
    assert (said.within.value or 0) < (said.cluster.value or 0) - 0.1


def test_the_partition_has_the_slope_net_of_perturbation_and_strength() -> None:
    of = test_partition.design(clips=LEAST)
    table = test_partition.world(of, {"image-noise": 0.1, "time-axis": 0.7})
    adjusted = test_partition.found(table, of).adjusted
    assert [one.control for one in adjusted] == [None, "twin"]
    for one in adjusted:
        models = [one.control] if one.control else ["base", "large"]
        x, y = test_partition.side(table, test_partition.GROUPS["all"], models)
        doses = [
            (cell.perturbation, cell.strength)
            for cell in sketch.video(table.cells)
            if cell.perturbation in test_partition.FAMILIES and cell.model in models
        ]
        assert one.slope == gee(x, y, doses, test_partition.HOW.level)
        assert one.slope.defined
    few = test_partition.design(clips=LEAST - 1)
    for one in test_partition.found(test_partition.world(few, {"image-noise": 0.1, "time-axis": 0.7}), few).adjusted:
        assert words.notes(one.slope) == f"fewer than {LEAST} clips"
