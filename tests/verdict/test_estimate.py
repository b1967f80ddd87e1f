"""Estimates against scipy, closed forms and invariants."""

import math

import numpy as np
import pytest
from scipy import stats

from vjepa_stress.verdict.estimate import (
    Resampling,
    bootstrap_mean,
    clip_counts,
    fisher_ci,
    maximum,
    ratio_of_means,
    trend,
)

HOW = Resampling(resamples=4000, seed=1)
CHANCE = np.random.default_rng(0)


def scipy_interval(data: tuple[np.ndarray, ...], statistic: object) -> tuple[float, float]:
    """The same percentile interval by scipy, from other resamples."""
    found = stats.bootstrap(
        data, statistic, paired=True, n_resamples=4000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    return float(found.low), float(found.high)


def test_counts_are_resamples() -> None:
    counts = clip_counts(7, 500, 3)
    assert counts.shape == (500, 7)
    assert (counts.sum(1) == 7).all()
    # Each clip's count is binomial(n, 1/n): mean 1, variance 1 − 1/n.
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(6 / 7, abs=0.05)


def test_mean_against_scipy() -> None:
    values = CHANCE.beta(2, 5, 60)
    found = bootstrap_mean(values, HOW)
    assert found.value == pytest.approx(values.mean(), abs=1e-15)
    half = stats.t.ppf(0.975, 59) * values.std(ddof=1) / math.sqrt(60)
    low, high = scipy_interval((values,), lambda x, axis: x.mean(axis=axis))
    assert found.low == pytest.approx(low, abs=0.08 * half)
    assert found.high == pytest.approx(high, abs=0.08 * half)


def test_pooled_cells_are_clustered_by_clip() -> None:
    """Twenty cells that repeat one value a clip are no more information than one."""
    values = CHANCE.normal(size=40)
    repeated = np.repeat(values[:, None], 20, axis=1)
    one, many = bootstrap_mean(values, HOW), bootstrap_mean(repeated, HOW)
    assert many.low == pytest.approx(one.low)
    assert many.high == pytest.approx(one.high)
    assert many.n == 40


def test_ratio_against_scipy_and_pairing() -> None:
    below = CHANCE.gamma(9, 0.1, 80)
    above = 1.5 * below + CHANCE.normal(0, 0.05, 80)
    found = ratio_of_means(above, below, HOW)
    assert found.value == pytest.approx(above.mean() / below.mean(), abs=1e-14)
    low, high = scipy_interval((above, below), lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis))
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))
    assert found.low is not None
    assert found.high is not None
    shuffled = ratio_of_means(above, CHANCE.permutation(below), HOW)
    assert shuffled.low is not None
    assert shuffled.high is not None
    assert found.high - found.low < 0.5 * (shuffled.high - shuffled.low)


def test_trend_is_spearman_of_cell_means() -> None:
    strengths = [0.2, 0.4, 0.6, 0.8, 1.0]
    values = CHANCE.normal(size=(50, 5)) + np.array([0.0, 0.3, 0.2, 0.9, 0.7])
    found = trend(values, strengths, HOW)
    expected = stats.spearmanr(strengths, values.mean(0)).statistic
    assert found.value == pytest.approx(expected, abs=1e-12)
    counts = clip_counts(50, HOW.resamples, HOW.seed)
    rhos = [stats.spearmanr(strengths, row @ values / 50).statistic for row in counts[:200]]
    again = trend(values, strengths, Resampling(resamples=200, seed=1))
    assert again.low is not None
    # The first 200 resamples of one seed are not those of another number of resamples: compare loosely.
    assert abs(np.quantile(rhos, 0.025) - again.low) < 0.25


def test_trend_pools_cells_of_one_strength() -> None:
    values = CHANCE.normal(size=(30, 6))
    found = trend(values, [0.1, 0.1, 0.5, 0.5, 0.9, 0.9], HOW)
    means = values.mean(0).reshape(3, 2).mean(1)
    assert found.value == pytest.approx(stats.spearmanr([0.1, 0.5, 0.9], means).statistic)


def test_maximum_is_absolute_and_has_no_interval() -> None:
    found = maximum([[0.1, -0.7], [0.3, np.nan]])
    assert (found.value, found.low, found.high) == (0.7, 0.7, 0.7)


@pytest.mark.parametrize(
    "found",
    [
        bootstrap_mean([1.0]),
        bootstrap_mean([np.nan, np.nan]),
        ratio_of_means([1.0, 2.0], [0.0, 0.0], Resampling(resamples=1000)),
        trend(np.ones((10, 2)), [0.1, 0.2]),
        trend(np.ones((10, 4)), [0.1, 0.2, 0.3, 0.4], Resampling(resamples=1000)),  # constant: no order
        maximum([np.nan]),
    ],
)
def test_what_has_no_value_is_undefined_and_says_why(found: object) -> None:
    assert not found.defined  # type: ignore[attr-defined]
    assert found.note  # type: ignore[attr-defined]


def test_a_clip_without_a_value_counts_where_it_has_one() -> None:
    values = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
    assert bootstrap_mean(values, HOW).value == pytest.approx((1 + 2 + 3 + 5 + 6) / 5)


def test_estimates_depend_on_the_seed_and_nothing_else() -> None:
    values = CHANCE.normal(size=30)
    assert bootstrap_mean(values, HOW) == bootstrap_mean(values.copy(), HOW)
    assert bootstrap_mean(values, HOW) != bootstrap_mean(values, HOW.model_copy(update={"seed": 2}))


@pytest.mark.parametrize(
    ("r", "n", "low", "high"),
    [
        (0.370, 600, 0.299, 0.437),
        (0.350, 600, 0.278, 0.418),
        (0.093, 600, 0.013, 0.171),
        (0.049, 600, -0.031, 0.128),
        (-0.055, 600, -0.135, 0.025),
        (0.161, 3000, 0.126, 0.195),
    ],
)
def test_published_fisher_intervals(r: float, n: int, low: float, high: float) -> None:
    assert fisher_ci(r, n) == pytest.approx((low, high), abs=0.001)


def test_fisher_borders() -> None:
    assert fisher_ci(1.0, 10) == (1.0, 1.0)
    assert fisher_ci(-1.0, 10) == (-1.0, -1.0)
    assert fisher_ci(0.5, 3) == (-1.0, 1.0)
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        fisher_ci(1.1, 10)
    x, y = CHANCE.normal(size=(2, 40))
    reference = stats.pearsonr(x, y)
    assert fisher_ci(reference.statistic, 40) == pytest.approx(tuple(reference.confidence_interval()), abs=1e-12)
