"""Levels inside a hypothesis: error rates of combinations, estimates at several levels, two one-sided tests."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from tests.verdict import sketch
from tests.verdict.test_evaluate import DESIGN, ESTIMANDS, NOISE, RULE, evidence
from tests.verdict.test_judge import band, threshold
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.report import numbers, words
from vjepa_stress.rules.tost import Tost
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.evaluate import evaluate
from vjepa_stress.verdict.judge import Levels, Verdict, decide, judge
from vjepa_stress.verdict.multiplicity import leaf_levels, resampling
from vjepa_stress.verdict.plan import EstimationPlan, compute
from vjepa_stress.verdict.table import Table

MODELS, STRENGTHS = ("a", "b", "c"), (0.2, 0.6, 1.0)
WIDE = sketch.design(
    sketch.cells(["clips"], MODELS, ["blur", "noise"], STRENGTHS), clips={"clips": 200}, metrics={"M2": (0, 2)}
)
GAPS: dict[str, Any] = {
    f"{model}{n}": {
        "statistic": "difference",
        "metric": "M2",
        "of": {"perturbation": ["noise"], "model": [model], "strength": [strength]},
        "minus": {"perturbation": ["blur"], "model": [model], "strength": [strength]},
    }
    for model in MODELS
    for n, strength in enumerate(STRENGTHS)
}
"""Nine independent differences."""


def gaps(kind: str, within: str = "adjusted", counts: Mapping[str, int] | None = None) -> Preregistration:
    """A rule that combines nine tests of a difference above 0."""
    rule = {"kind": kind, "of": [sketch.threshold(name, 0.0, 0.0) for name in GAPS], **(counts or {})}
    return sketch.document(WIDE, [sketch.hypothesis("H1", GAPS, rule)], analysis={"within_hypothesis": within})


def normal(document: Preregistration, z: Floats) -> Iterator[str]:
    """The outcome for each row of nine values with a standard error of 1, with exact normal intervals."""
    (hypothesis,) = document.hypotheses
    levels, own = leaf_levels(document, hypothesis), resampling(document).level
    read = {own} | {level for one in levels if one for level in (one.confirm, one.refute)}
    half = {level: float(stats.norm.ppf((1 + level) / 2)) for level in read}
    for row in z.tolist():
        at = {
            (name, level): Estimate(value=value, low=value - width, high=value + width, n=9, method="percentile")
            for name, value in zip(GAPS, row, strict=True)
            for level, width in half.items()
        }
        yield judge(hypothesis.rule, {name: at[name, own] for name in GAPS}, levels, at).outcome


HALF = {"confirm_at_least": 5, "refute_at_least": 5}
STUDIES = 4000
ALLOWED = 0.025 + 3 * (0.025 * 0.975 / STUDIES) ** 0.5


@pytest.mark.parametrize(
    ("kind", "more", "means", "outcome"),
    [
        ("any_of", {}, [0.0] * 9, "confirmed"),
        ("all_of", {}, [0.0] * 9, "refuted"),
        # Five must be confirmed: four are true without doubt, so that one false confirmation is enough.
        ("count", HALF, [9.0] * 4 + [0.0] * 5, "confirmed"),
        ("count", HALF, [-9.0] * 4 + [0.0] * 5, "refuted"),
        # Intersection–union: eight are true without doubt, and the ninth is not corrected.
        ("all_of", {}, [9.0] * 8 + [0.0], "confirmed"),
        ("any_of", {}, [-9.0] * 8 + [0.0], "refuted"),
    ],
)
def test_a_combination_errs_at_most_at_its_level(
    kind: str, more: dict[str, int], means: list[float], outcome: str
) -> None:
    z = np.random.default_rng(7).normal(size=(STUDIES, 9)) + means
    error = list(normal(gaps(kind, counts=more), z)).count(outcome) / STUDIES
    uncorrected = list(normal(gaps(kind, "none", more), z)).count(outcome) / STUDIES
    assert 0.015 < error <= ALLOWED
    if 9.0 in np.abs(means) and kind != "count":
        assert error == uncorrected
    else:
        assert uncorrected > 2 * ALLOWED


def test_any_of_nine_bootstrapped_nulls_is_confirmed_in_one_of_forty_studies() -> None:
    document, studies = gaps("any_of"), 600
    (hypothesis,) = document.hypotheses
    levels = leaf_levels(document, hypothesis)
    cells, units = document.design.cells, tuple(f"clips-{n:03}" for n in range(200))
    present, confirmed = np.ones((200, len(cells)), dtype=bool), 0
    chance, plans = np.random.default_rng(3), dict[str, EstimationPlan]()
    for _ in range(studies):
        table = Table(cells, units, {"M2": chance.normal(0.8, 0.1, size=present.shape)}, present)
        plans = plans or {
            name: EstimationPlan.of(one, table, document.design) for name, one in hypothesis.estimands.items()
        }
        at = ByLevel(plans, table, resampling(document), strict=True).at(
            (leaf.estimand, level)
            for leaf, one in zip(hypothesis.rule.leaves(), levels, strict=True)
            if one
            for level in (one.confirm, one.refute)
        )
        confirmed += judge(hypothesis.rule, {}, levels, at).outcome == "confirmed"
    assert confirmed / studies <= 0.025 + 3 * (0.025 * 0.975 / studies) ** 0.5


def test_divisors_multiply_down_the_tree() -> None:
    count = {"kind": "count", "confirm_at_least": 2, "refute_at_least": 3}
    rule = {
        "kind": "any_of",
        "of": [
            sketch.threshold("a0", 0.0, 0.0),
            {**count, "of": [sketch.threshold(name, 0.0, 0.0) for name in ("a1", "a2", "b0", "b1")]},
            {"kind": "all_of", "of": [sketch.threshold("b2", 0.0, 0.0, "point"), sketch.threshold("c0", 0.0, 0.0)]},
        ],
    }
    used = {name: GAPS[name] for name in ("a0", "a1", "a2", "b0", "b1", "b2", "c0")}
    one, other = sketch.hypothesis("H1", used, rule), sketch.hypothesis("H2", used, rule)
    document = sketch.document(WIDE, [one, other], analysis={"multiplicity": "bonferroni"})
    levels = leaf_levels(document, document.hypotheses[0])
    over = [(1, 1) if read is None else (read.confirm_over, read.refute_over) for read in levels]
    # any_of three: 3 and 1. Two confirmed of four: 3; three refuted of four: 2. all_of two: 1 and 2. A point: none.
    assert over == [(3, 1), *[(9, 2)] * 4, (1, 1), (3, 2)]
    assert levels[5] is None
    for read, (confirm, refute) in zip(levels, over, strict=True):
        assert read is None or read.confirm == pytest.approx(1 - 0.05 / 2 / confirm)
        assert read is None or read.refute == pytest.approx(1 - 0.05 / 2 / refute)
    plain = sketch.document(WIDE, [one], analysis={"within_hypothesis": "none"})
    assert leaf_levels(plain, plain.hypotheses[0]) == [None] * 7


def test_a_withdrawn_sub_rule_still_counts() -> None:
    document = gaps("any_of")
    (hypothesis,) = document.hypotheses
    rest = hypothesis.model_copy(update={"withdrawn": ("a0", "a1")}).judged
    assert rest is not None
    levels = leaf_levels(document, rest)
    assert len(levels) == len(list(rest.rule.leaves())) == 7
    assert {one.confirm_over for one in levels if one} == {9}


@pytest.mark.parametrize("name", list(ESTIMANDS))
def test_estimates_at_several_levels_are_those_of_each_level(name: str) -> None:
    document = sketch.document(DESIGN, [sketch.hypothesis("H1", ESTIMANDS, RULE)])
    table, estimand = sketch.table(document), document.hypotheses[0].estimands[name]
    how = resampling(document)
    found = ByLevel({name: EstimationPlan.of(estimand, table, document.design)}, table, how, strict=True)
    wanted = [(name, level) for level in (0.5, 0.95, 0.994)]
    at = found.at(wanted)
    for key, level in wanted:
        alone = compute(estimand, table, document.design, how.model_copy(update={"level": level}), strict=True)
        assert at[key, level] == alone == found.at([(key, level)])[key, level]


def test_a_verdict_has_the_levels_and_says_them() -> None:
    """Three means: each confirmed at 1 − α/3, refuted at 1 − α."""
    estimands = {
        f"x{n}": {"statistic": "mean", "metric": "M2", "where": {**NOISE, "strength": [strength]}}
        for n, strength in enumerate((0.2, 0.6, 1.0))
    }
    rule = {"kind": "any_of", "of": [sketch.threshold(name, 0.3, 0.2) for name in estimands]}
    document = sketch.document(DESIGN, [sketch.hypothesis("H1", estimands, rule)])
    table = sketch.table(document)
    (verdict,) = evaluate(evidence(document, table)).hypotheses
    decision = verdict.decision
    assert decision is not None
    wide = 1 - (1 - 0.95) / 3
    for part in decision.parts:
        assert part.levels == Levels(confirm=wide, refute=0.95, confirm_over=3, refute_over=1)
        assert "(confirmed at 98.3 %: Bonferroni over 3; refuted at 95 %)" in words.clause(part)
        assert "(for at 98.3 %: Bonferroni over 3; against at 95 %)" in words.clause(part.exploratory())
    for name, record in verdict.estimates.items():
        (other,) = record.others
        how = resampling(document).model_copy(update={"level": wide})
        expected = compute(record.estimand, table, document.design, how, strict=True)
        assert other.level == wide
        assert other.estimate.model_dump() == pytest.approx(expected.model_dump(), abs=1e-12)
        shown = words.explain(
            decision,
            {name: record.estimate for name, record in verdict.estimates.items()},
            numbers.number,
            verdict.other_levels,
        )
        assert f"{numbers.interval(expected.low, expected.high)}" in shown
        assert f"{name} = " in shown
    assert Verdict.model_validate(decision.model_dump(mode="json")) == decision


@pytest.mark.parametrize("share", [0.5, 0.95, 0.9875, 1 - 0.05 / 9, 1 - 0.05 / 900])
def test_levels_are_written_with_at_least_one_digit_of_alpha(share: float) -> None:
    text = numbers.level(share)
    assert text == {0.5: "50 %", 0.95: "95 %", 0.9875: "98.8 %", 1 - 0.05 / 9: "99.4 %"}.get(share, "99.994 %")


def test_both_sides_of_a_leaf_are_never_decided_at_once() -> None:
    """A narrow interval that refutes and a wide one that confirms, which no interval of a mean can be."""
    rule = threshold("above", 0.5, 0.5, "interval")
    above, under = (Estimate(value=v, low=v, high=v, n=9, method="none") for v in (0.9, 0.1))
    assert (decide(rule, above), decide(rule, under), decide(rule, above, under)) == (
        "confirmed",
        "refuted",
        "ambiguous",
    )
    assert decide(rule, under, above) == "ambiguous"
    assert decide(band(0.0, 1.0), above, above) == "confirmed"


def tost(alpha: float, level: float = 0.95, family: int = 1) -> Preregistration:
    """Equivalence of the mean dM3 to 0."""
    estimand = {"statistic": "mean", "metric": "dM3", "where": NOISE}
    rule = {"kind": "tost", "estimand": "x", "margin": 0.1, "alpha": alpha}
    hypotheses = [sketch.hypothesis(f"H{n}", {"x": estimand}, rule) for n in range(family)]
    analysis = {"confidence_level": level, "multiplicity": "bonferroni" if family > 1 else "none"}
    return sketch.document(DESIGN, hypotheses, analysis=analysis)


@pytest.mark.parametrize(
    ("document", "level"),
    [(tost(0.05), 0.9), (tost(0.05, 0.99), 0.9), (tost(0.05, 0.99, family=4), 1 - 0.1 / 4), (tost(0.025), None)],
)
def test_two_one_sided_tests_have_an_alpha_of_their_own(document: Preregistration, level: float | None) -> None:
    (levels,) = leaf_levels(document, document.hypotheses[0])
    assert (levels and levels.confirm) == (level and pytest.approx(level))
    assert (levels and levels.refute) == (level and pytest.approx(level))


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_two_one_sided_tests_are_those_of_statsmodels(alpha: float) -> None:
    rule = Tost(kind="tost", estimand="x", margin=0.1, alpha=alpha)
    outcomes = set()
    for seed in range(40):
        x = np.random.default_rng(seed).normal(0.03, 0.2, size=50)
        half = float(stats.t.ppf(1 - alpha, 49) * x.std(ddof=1) / 50**0.5)
        mean = float(x.mean())
        seen = Estimate(value=mean, low=mean - half, high=mean + half, n=50, method="student-t")
        p = float(DescrStatsW(x).ttost_mean(-0.1, 0.1)[0])
        assert (judge(rule, {"x": seen}).outcome == "confirmed") == (p <= alpha)
        outcomes.add(p <= alpha)
    assert outcomes == {True, False}
