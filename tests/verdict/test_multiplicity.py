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

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/e_stats/expected.json").read_text())
MEAN = {"statistic": "mean", "metric": "M2", "where": {**NOISE, "strength": [0.6], "model": ["base"]}}


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


def test_rules_without_intervals_have_no_p_value() -> None:
    document = study()
    (_, _, _, point) = evaluate(evidence(document, sketch.table(document))).hypotheses
    assert (point.p, point.p_holm) == (None, None)


def test_the_correction_survives_its_file() -> None:
    value: dict[str, Any] = study().model_dump(mode="json", by_alias=True)
    assert Preregistration.model_validate(value) == study()
