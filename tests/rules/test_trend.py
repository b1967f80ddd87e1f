"""Trends: an order of means that also differ enough."""

import numpy as np
import pytest
from pydantic import ValidationError

from vjepa_stress.report import words
from vjepa_stress.rules.trend import TrendRule
from vjepa_stress.statistics.numerics.estimate import Estimate, Step
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.estimate import difference, trend
from vjepa_stress.verdict.judge import judge

FIELDS = {"kind": "trend", "estimand": "x", "order": "rising", "confirm_at": 0.9, "refute_at": 0.5, "smallest": 0.05}
RISES = TrendRule.model_validate(FIELDS)
STRENGTHS = [0.2, 0.4, 0.6, 1.0]
HOW = Resampling(resamples=2000, seed=1)


def ranked(rho: float, low: float, high: float) -> Estimate:
    """An estimate of a trend."""
    change = Step(value=(low + high) / 2, low=low, high=high, n=40)
    return Estimate(value=rho, low=rho, high=rho, n=40, method="expanded", overall=change)


@pytest.mark.parametrize(
    ("rho", "low", "high", "expected"),
    [
        (1.0, 0.05, 0.2, "confirmed"),
        (1.0, 0.04, 0.2, "ambiguous"),
        (1.0, 0.01, 0.04, "refuted"),  # ordered, but too small to matter
        (0.8, 0.10, 0.2, "ambiguous"),
        (0.4, 0.10, 0.2, "refuted"),
        (-1.0, -0.2, -0.1, "refuted"),
    ],
)
def test_trend(rho: float, low: float, high: float, expected: str) -> None:
    verdict = judge(RISES, {"x": ranked(rho, low, high)})
    assert verdict.outcome == expected
    assert "0.05" in words.clause(verdict)
    falls = RISES.model_copy(update={"order": "falling"})
    assert judge(falls, {"x": ranked(-rho, -high, -low)}).outcome == expected


def test_a_negligible_rise_is_refuted() -> None:
    """M2 rises from 0.30000 to 0.30008 with hardly any noise: the rank correlation is 1."""
    chance = np.random.default_rng(3)
    clip = 0.1 * chance.normal(size=(40, 1))
    values = 0.3 + clip + np.array(STRENGTHS) * 1e-4 + 1e-6 * chance.normal(size=(40, 4))
    found = trend(values, STRENGTHS, HOW)
    assert found.value == 1
    assert found.overall is not None
    assert found.overall.value == pytest.approx(8e-5, rel=0.05)
    assert judge(RISES, {"x": found}).outcome == "refuted"


def test_the_change_is_a_paired_difference() -> None:
    values = np.random.default_rng(4).normal(size=(40, 4)).cumsum(axis=1)
    change = trend(values, STRENGTHS, HOW).overall
    expected = difference(values[:, 3], values[:, 0], HOW)
    assert change is not None
    assert (change.value, change.low, change.high) == pytest.approx((expected.value, expected.low, expected.high))


@pytest.mark.parametrize("levels", [3, 4])
def test_a_flat_curve_is_hardly_ever_confirmed(levels: int) -> None:
    """By the rank correlation alone, three levels without any trend were confirmed in one of six studies."""
    strengths, studies = STRENGTHS[-levels:], 400
    ranks, confirmed = 0, 0
    for seed in range(studies):
        values = 0.3 + 0.05 * np.random.default_rng(seed).normal(size=(30, levels))
        found = trend(values, strengths, Resampling(resamples=300, seed=seed))
        ranks += (found.value or 0) >= 0.9
        confirmed += judge(RISES.model_copy(update={"smallest": 1e-9}), {"x": found}).outcome == "confirmed"
    assert ranks / studies > (0.1 if levels == 3 else 0.02)
    assert confirmed / studies <= 0.045


def test_a_rule_with_overlapping_regions_is_invalid() -> None:
    with pytest.raises(ValidationError, match=r"refute_at 0\.95 is above confirm_at 0\.9"):
        TrendRule.model_validate({**FIELDS, "refute_at": 0.95})
