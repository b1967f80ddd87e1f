"""Rules under registered alternatives: which agree, which disagree, and which do not apply."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.verdict import sketch
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.statistics import STATISTICS
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.multiverse import AlternativeRecord, agreement, multiverse
from vjepa_stress.verdict.plan import compute
from vjepa_stress.verdict.table import Table

DESIGN = sketch.design(
    sketch.cells(["davis"], ["base", "large"], ["noise", "drops"], [0.2, 1.0]), clips={"davis": 30}
)
BAND = {"kind": "band", "estimand": "r", "low": -0.72, "high": 0.72, "rationale": "a sketch"}
R = {"statistic": "pearson", "x": "M2", "y": "dM3", "where": {}}


def outcomes(*changes: dict[str, Any], estimand: Any = R, rule: Any = BAND) -> dict[str, str | None]:
    """30 clips that are alike in every cell: 240 pairs for Fisher's interval, 30 for the others. r is 0.6."""
    document = sketch.document(DESIGN, [sketch.hypothesis("H1", {"r": estimand}, rule)])
    table, chance = sketch.table(document), np.random.default_rng(1)
    x, noise = chance.normal(size=(2, 30))
    x = (x - x.mean()) / x.std()
    noise -= noise.mean() + x * (noise @ x) / 30
    y = 0.6 * x + 0.8 * noise / noise.std()
    alike = {"M2": x, "dM3": y}
    values = {
        **table.values,
        **{name: np.repeat(one[:, None], len(table.cells), axis=1) for name, one in alike.items()},
    }
    changed = [Alternative.model_validate({"name": f"a{n}", **change}) for n, change in enumerate(changes)]
    records = multiverse(
        document.hypotheses[0], changed, Table(table.cells, table.units, values, table.present), document
    )
    return {one.name: one.outcome for one in records}


def test_an_alternative_disagrees() -> None:
    # The registered sensitivity of the replica: Fisher's interval instead of a jackknife over clips.
    found = outcomes({"level": 0.9}, {"interval": "fisher", "hypothesis": "H1"}, {"interval": "expanded"})
    assert found == {"a0": "ambiguous", "a1": "confirmed", "a2": "ambiguous"}


def test_strata_seeds_statistics_and_sources() -> None:
    found = outcomes(
        {"where": {"perturbation": ["noise"]}},
        {"leave_one_source_out": True, "where": {"model": ["base"], "perturbation": ["noise"]}},
        {"where": {"dataset": ["films"]}},
        {"seed": 9},
        {"hypothesis": "H2", "level": 0.9},
        estimand=R,
        rule=sketch.threshold("r", 0.05, 0.01) | {"rationale": "a sketch"},
    )
    assert found == {"a0": "confirmed", "a1": "differs", "a2": None, "a3": None}
    # A border so near to the end of the interval that one clip decides.
    near = sketch.threshold("r", 0.2, 0.1) | {"rationale": "a sketch"}
    alone = outcomes({"leave_one_source_out": True}, estimand=R, rule=near)
    assert alone == {"a0": "differs"}


def test_what_does_not_apply_is_no_disagreement() -> None:
    mean = {"statistic": "mean", "metric": "M2", "where": {}}
    rule = sketch.threshold("r", 0.5, 0.1) | {"rationale": "a sketch"}
    found = outcomes({"interval": "fisher"}, {"statistic": "spearman"}, {"interval": "bca"}, estimand=mean, rule=rule)
    assert (found["a0"], found["a1"]) == (None, None)
    assert found["a2"] is not None
    assert outcomes({"statistic": "spearman"})["a0"] is not None


def test_agreement_counts_what_applies() -> None:
    records = [
        AlternativeRecord(name="a", outcome="confirmed"),
        AlternativeRecord(name="b", outcome="refuted"),
        AlternativeRecord(name="c", outcome=None),
        AlternativeRecord(name="d", outcome="differs"),
    ]
    assert agreement("confirmed", records) == (1, 3)


def test_an_alternative_changes_something() -> None:
    with pytest.raises(ValidationError, match="changes nothing"):
        Alternative.model_validate({"name": "same", "hypothesis": "H1"})


WHOLE = sketch.design(
    sketch.cells(["davis"], ["base", "large"], ["noise", "drops", "identity"], [0.2, 0.6, 1.0]), clips={"davis": 30}
)
NOISE, DROPS = {"perturbation": ["noise"]}, {"perturbation": ["drops"]}
TWO = {"x": "M2", "y": "dM3", "where": {"perturbation": ["noise", "drops"]}}
BY_STATISTIC: dict[str, dict[str, Any]] = {
    "mean": {"metric": "M2", "where": NOISE},
    "difference": {"metric": "M2", "of": NOISE, "minus": DROPS},
    "ratio_of_means": {"metric": "M2", "numerator": NOISE, "denominator": DROPS},
    "trend": {"metric": "M2", "along": "strength", "where": NOISE},
    "jumps": {"metric": "M2", "along": "model", "levels": ["base", "large"], "where": NOISE},
    "maximum": {"metric": "M2", "where": NOISE},
    "pearson": TWO,
    "spearman": TWO,
    "within_cell": TWO,
    "incremental": {**TWO, "beyond": ["perturbation", "strength"]},
    "transfer": {**TWO, "leave_out": "perturbation"},
    "auroc": {**TWO, "failure_at": 0.5},
}
CHANGES: dict[str, dict[str, Any]] = {
    "percentile": {"interval": "percentile"},
    "bca": {"interval": "bca"},
    "fisher": {"interval": "fisher"},
    "level": {"level": 0.99},
    "seed": {"seed": 9},
    "where": {"where": {"model": ["large"]}},
    "ends": {"where": {"strength": [0.2, 1.0]}},
    "spearman": {"statistic": "spearman"},
    "without": {"leave_one_source_out": True},
}
NOT_APPLICABLE: dict[str, set[str]] = {
    "mean": {"fisher", "spearman"},
    "difference": {"fisher", "spearman"},
    "ratio_of_means": {"fisher", "spearman"},
    "trend": {"fisher", "spearman", "ends"},  # a trend over two levels is always -1 or 1
    "jumps": {"percentile", "bca", "fisher", "spearman", "where"},
    "maximum": {"percentile", "bca", "fisher", "spearman", "level", "seed"},
    "pearson": {"seed"},  # a jackknife draws nothing
    "spearman": {"percentile", "bca", "fisher", "spearman"},
    "within_cell": {"fisher", "seed"},
    "incremental": {"fisher", "spearman", "seed"},
    "transfer": {"fisher", "spearman", "seed"},
    "auroc": {"percentile", "bca", "fisher", "spearman", "seed"},
}


def test_every_statistic_is_in_the_table() -> None:
    assert set(BY_STATISTIC) == set(NOT_APPLICABLE) == set(STATISTICS)


@pytest.mark.parametrize("name", BY_STATISTIC)
def test_every_alternative_applies_to_a_statistic_or_is_said_not_to(name: str) -> None:
    estimand = {"statistic": name, **BY_STATISTIC[name]}
    rule = sketch.reading("one", estimand)
    document = sketch.document(WHOLE, [sketch.hypothesis("H1", {"one": estimand}, rule)])
    changes = [Alternative.model_validate({"name": key, **change}) for key, change in CHANGES.items()]
    found = multiverse(document.hypotheses[0], changes, sketch.table(document), document)
    assert {one.name for one in found if one.outcome is None} == NOT_APPLICABLE[name]
    assert [one.name for one in found if one.outcome == "not-evaluable"] == []


@pytest.mark.parametrize("name", [name for name in BY_STATISTIC if "bca" not in NOT_APPLICABLE[name]])
def test_another_interval_is_another_interval(name: str) -> None:
    """An alternative that left the interval as it is would agree with every verdict."""
    document = sketch.document(
        WHOLE,
        [
            sketch.hypothesis(
                "H1",
                {"one": (estimand := {"statistic": name, **BY_STATISTIC[name]})},
                sketch.reading("one", estimand),
            )
        ],
    )
    one, how = document.hypotheses[0].estimands["one"], Resampling(resamples=1000, seed=5)
    ends, intervals = set(), {one.interval, "expanded", "percentile", "bca"}
    for interval in intervals:
        other = one.model_copy(update={"interval": interval})
        estimate = compute(other, sketch.table(document), document.design, how, strict=True)
        assert estimate.method == interval
        whole = estimate.overall or estimate
        ends.add((whole.low, whole.high))
    assert len(ends) == len(intervals)


def applied(estimand: dict[str, Any], rule: dict[str, Any], design: Any, **change: Any) -> str | None:
    document = sketch.document(design, [sketch.hypothesis("H1", {"one": estimand}, rule)])
    one = Alternative.model_validate({"name": "one", **change})
    (record,) = multiverse(document.hypotheses[0], [one], sketch.table(document), document)
    return record.outcome


def test_a_rule_with_its_own_alpha_reads_no_other_level() -> None:
    difference = {"statistic": "difference", **BY_STATISTIC["difference"]}
    tost = {"kind": "tost", "estimand": "one", "margin": 0.2, "alpha": 0.05}
    assert applied(difference, tost, WHOLE, level=0.99) is None
    assert applied(difference, tost, WHOLE, seed=9) == "confirmed"
    assert applied(difference, tost, WHOLE, seed=5) is None  # the registered seed


def test_only_sources_and_subjects_that_are_read() -> None:
    """The estimand reads one source of `few`, whose removal leaves nothing; a control is not a subject."""
    cells = sketch.cells(["davis", "few"], ["base", "twin"], ["noise"], [0.2, 1.0])
    counts = {"davis": 30, "few": 2}
    design = sketch.design(cells, clips=counts, sources={"davis": 30, "few": 1}, controls=["twin"])
    few = {"statistic": "mean", "metric": "M2", "where": {"dataset": ["few"]}}
    point = sketch.threshold("one", 0.1, 0.05, "point")
    assert applied(few, point, design, leave_one_source_out=True) is None
    davis = {**few, "where": {"dataset": ["davis"]}}
    assert applied(davis, point, design, leave_one_source_out=True) == "confirmed"
    assert applied(davis, point, design, where={"model": ["twin"]}) is None
    assert applied(davis, point, design, where={"model": ["base"]}) is None  # the same cells
    assert applied(davis, point, design, where={"strength": [1.0]}) == "confirmed"
