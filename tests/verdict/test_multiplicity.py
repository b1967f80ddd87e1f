"""Bonferroni's wider intervals, Holm's adjustment against statsmodels' numbers, p-values against a closed form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.verdict import sketch
from tests.verdict.test_evaluate import DESIGN, NOISE, evidence
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.statistics.numerics.resample import unit_counts
from vjepa_stress.verdict.evaluate import evaluate
from vjepa_stress.verdict.multiplicity import holm, p_value
from vjepa_stress.verdict.table import Table

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/e_stats/expected.json").read_text())
MEAN: dict[str, Any] = {"statistic": "mean", "metric": "M2", "where": {**NOISE, "strength": [0.6], "model": ["base"]}}


def study(multiplicity: str = "bonferroni", confirm_at: float = 0.4, n: int = 3) -> Preregistration:
    hypotheses = [
        sketch.hypothesis(f"H{k}", {"x": MEAN}, sketch.threshold("x", confirm_at - k / 10, 0.0)) for k in range(n)
    ]
    point = sketch.hypothesis("P", {"x": MEAN}, sketch.threshold("x", 0.1, 0.0, "point"))
    return sketch.document(DESIGN, [*hypotheses, point], analysis={"multiplicity": multiplicity})


def test_holm_is_that_of_statsmodels() -> None:
    rows = GOLDEN["dose_response"]
    rows = rows["rows"] if isinstance(rows, dict) else rows
    found = holm([row["p_rows"] for row in rows])
    assert found == pytest.approx([row["p_holm"] for row in rows], rel=1e-9)


def test_rules_read_wider_intervals() -> None:
    single, corrected = (
        evaluate(evidence(document, sketch.table(document))).hypotheses[0]
        for document in (study("none"), study("bonferroni"))
    )
    one, other = single.estimates["x"].estimate, corrected.estimates["x"].estimate
    assert one.low is not None
    assert one.high is not None
    assert other.low is not None
    assert other.high is not None
    assert other.low < one.low < one.high < other.high
    assert other.value == one.value
    assert (single.level, single.p, single.p_holm) == (None, None, None)
    assert corrected.level == pytest.approx(1 - 0.05 / 4)
    assert corrected.p is not None
    assert corrected.p_holm is not None
    assert corrected.p_holm >= corrected.p


def test_a_p_value_is_the_smallest_level_at_which_the_rule_confirms() -> None:
    """A threshold below a mean's expanded interval: its level, at the share of resamples that fall short of it."""
    document = study()
    table = sketch.table(document)
    (column,) = table.columns(
        [c for c in sketch.video(table.cells) if (c.model, c.perturbation, c.strength) == ("base", "noise", 0.6)]
    )
    values = table.values["M2"][:, column]
    means = unit_counts(len(values), 1000, 5) @ values / len(values)
    for hypothesis, border in zip(document.hypotheses[:3], (0.4, 0.3, 0.2), strict=True):
        share = float(np.mean(means < border))
        n = len(values)
        t = stats.norm.isf(share) * np.sqrt((n - 1) / n)
        expected = max(2 * stats.t.sf(t, n - 1), 1 / 1001) if share < 0.5 else 1.0
        assert p_value(hypothesis, table, document) == pytest.approx(expected, abs=5e-3)


def pooled_curve(step: float) -> tuple[Preregistration, Table]:
    """A curve that falls by 0.4 and then rises by `step`, and the published criterion for a falling curve."""
    models = ["base", "large", "giant"]
    sizes = {
        "statistic": "jumps",
        "metric": "M2",
        "along": "model",
        "levels": models,
        "where": NOISE,
        "interval": "pooled",
    }
    design = sketch.design(sketch.cells(["davis"], models, ["noise"], [0.2, 1.0]), clips={"davis": 40})
    rule = {"kind": "monotone_pooled", "estimand": "x", "order": "falling", "noise": 2.0}
    document = sketch.document(
        design, [sketch.hypothesis("H1", {"x": sizes}, rule)], analysis={"multiplicity": "bonferroni"}
    )
    table, chance = sketch.table(document), np.random.default_rng(1)
    means = {"base": 0.8, "large": 0.4, "giant": 0.4 + step}
    columns = [means[cell.model] + 0.05 * chance.normal(size=40) for cell in sketch.video(table.cells)]
    return document, Table(table.cells, table.units, {"M2": np.stack(columns, axis=1)}, table.present)


def test_a_rule_that_is_not_monotone_in_alpha_has_a_p_value_too() -> None:
    """A rise of 0.005 is less than the noise of wide intervals only: at α near 1, the rule is refuted."""
    document, table = pooled_curve(0.005)
    (verdict,) = evaluate(evidence(document, table)).hypotheses
    assert verdict.verdict == "confirmed"
    assert verdict.p == pytest.approx(1 / 1001)
    document, table = pooled_curve(0.3)
    (verdict,) = evaluate(evidence(document, table)).hypotheses
    assert (verdict.verdict, verdict.p) == ("refuted", 1.0)


@pytest.mark.parametrize("kind", ["all_of", "any_of", "count"])
@pytest.mark.parametrize("within", ["adjusted", "none"])
def test_what_is_confirmed_has_a_p_value_of_at_most_alpha(kind: str, within: str) -> None:
    estimands = {f"x{n}": {**MEAN, "where": {**MEAN["where"], "strength": [n]}} for n in (0.2, 0.6, 1.0)}
    estimands = {name.replace(".", ""): one for name, one in estimands.items()}
    more = {"confirm_at_least": 2, "refute_at_least": 2} if kind == "count" else {}
    rules = [
        {"kind": kind, "of": [sketch.threshold(name, at, 0.0) for name in estimands], **more}
        for at in (0.02, 0.1, 0.2, 0.3, 0.36, 0.45)
    ]
    document = sketch.document(
        DESIGN,
        [sketch.hypothesis(f"H{n}", estimands, rule) for n, rule in enumerate(rules)],
        analysis={"multiplicity": "bonferroni", "within_hypothesis": within},
    )
    outcomes = set()
    for seed in range(3):
        for one in evaluate(evidence(document, sketch.table(document, seed))).hypotheses:
            assert one.p is not None
            assert (one.verdict == "confirmed") == (one.p <= 0.05 / 6)
            outcomes.add(one.verdict)
    assert {"confirmed", "ambiguous"} <= outcomes


def test_levels_inside_a_hypothesis_are_in_its_p_value() -> None:
    """Bonferroni: the p-value of any of three equal tests is three times that of one."""
    same = dict.fromkeys(("x", "y", "z"), MEAN)
    rule = {"kind": "any_of", "of": [sketch.threshold(name, 0.4, 0.0) for name in same]}
    one = sketch.hypothesis("H1", {"x": MEAN}, sketch.threshold("x", 0.4, 0.0))
    three = sketch.hypothesis("H2", same, rule)
    document = sketch.document(DESIGN, [one, three], analysis={"multiplicity": "bonferroni"})
    single, corrected = (p_value(one, sketch.table(document), document) for one in document.hypotheses)
    assert single is not None
    assert 0.002 < single < 0.3
    assert corrected == pytest.approx(3 * single, rel=1e-3)


def test_rules_without_intervals_have_no_p_value() -> None:
    document = study()
    (_, _, _, point) = evaluate(evidence(document, sketch.table(document))).hypotheses
    assert (point.p, point.p_holm) == (None, None)


def test_the_correction_survives_its_file() -> None:
    value: dict[str, Any] = study().model_dump(mode="json", by_alias=True)
    assert Preregistration.model_validate(value) == study()
