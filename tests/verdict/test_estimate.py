"""Estimates against scipy, closed forms and invariants."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import stats

from vjepa_stress.report import words
from vjepa_stress.statistics.difference import plan_difference
from vjepa_stress.statistics.mean import plan_mean
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, evaluate
from vjepa_stress.statistics.numerics.ranks import spearman_rho
from vjepa_stress.statistics.numerics.resample import bca_ends, percentile_ends
from vjepa_stress.statistics.pearson import plan_pearson
from vjepa_stress.statistics.trend import plan_trend
from vjepa_stress.verdict.estimate import (
    Resampling,
    bootstrap_mean,
    clip_counts,
    cluster_bootstrap,
    difference,
    fisher_ci,
    jumps,
    maximum,
    pearson,
    ratio_of_means,
    spearman,
    trend,
)

HOW = Resampling(resamples=4000, seed=1)
FEWER = Resampling(resamples=1000)
CONSTANT = "a correlation with a constant is undefined"
CHANCE = np.random.default_rng(0)


def scipy_interval(
    data: tuple[np.ndarray, ...], statistic: object, method: str = "percentile"
) -> tuple[float, float]:
    """The same interval by scipy, from other resamples."""
    found = stats.bootstrap(
        data, statistic, paired=True, n_resamples=4000, method=method, rng=np.random.default_rng(5)
    ).confidence_interval
    return float(found.low), float(found.high)


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


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
    """Twenty cells that repeat one value per clip hold no more information than one."""
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


NOTHING = [
    (bootstrap_mean([1.0]), "too-few-units", "fewer than two clips have a value"),
    (bootstrap_mean([np.nan, np.nan]), "too-few-units", "fewer than two clips have a value"),
    (ratio_of_means([1.0, 2.0], [0.0, 0.0], FEWER), "no-value", "the statistic is undefined for these clips"),
    (trend(np.ones((10, 2)), [0.1, 0.2]), "too-few-levels", "fewer than three levels"),
    # Constant: no order.
    (trend(np.ones((10, 4)), [0.1, 0.2, 0.3, 0.4], FEWER), "no-value", "the statistic is undefined for these clips"),
    (maximum([np.nan]), "too-few-units", "fewer than two clips have a value"),
    (difference([1.0], [2.0]), "too-few-units", "fewer than two clips have a value"),
    (bootstrap_mean([], HOW), "too-few-units", "fewer than two clips have a value"),
    (cluster_bootstrap([], [], HOW), "too-few-units", "fewer than two clips have a value"),
    (cluster_bootstrap([1.0, 2.0], ["a", "a"], HOW), "too-few-units", "fewer than two clips have a value"),
    (pearson([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]), "constant", CONSTANT),
    (pearson([1.0, 2.0, 3.0, 4.0], [0.1, 0.1, 0.1, 0.1], HOW, interval="cluster"), "constant", CONSTANT),
    (pearson([1.0, 2.0], [3.0, 1.0]), "too-few-pairs", "fewer than three pairs"),
    (pearson([1.0, 2.0, np.nan, 4.0], [np.nan, 2.0, 3.0, 1.0]), "too-few-pairs", "fewer than three pairs"),
    # Some resamples hold one pair.
    (
        pearson([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], HOW, interval="cluster"),
        "no-value-in-resamples",
        "% of the resamples",
    ),
    (spearman([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], HOW), "constant", CONSTANT),
    (spearman([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], HOW), "no-value-in-resamples", "% of the resamples"),
    (jumps([[1.0, 2.0, 3.0]]), "too-few-groups", "fewer than two levels to compare"),
    (jumps([[1.0, 2.0, 3.0], [np.nan, np.nan, 3.0]]), "too-few-units", "fewer than two clips have a value"),
]


@pytest.mark.parametrize(("found", "code", "sentence"), NOTHING)
def test_what_has_no_value_is_undefined_and_says_why(found: Estimate, code: str, sentence: str) -> None:
    assert not found.defined
    assert found.notes[0].code == code
    assert sentence in words.note(found.notes[0])


def test_the_share_of_resamples_without_a_value_is_named() -> None:
    """Three pairs: a resample of one pair only, drawn three times, has no order; so have 3 of 27."""
    (note,) = spearman([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], HOW).notes
    assert note.value == pytest.approx(3 / 27, abs=4 * math.sqrt(3 / 27 * 24 / 27 / HOW.resamples))


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


MEANS = {
    "mean": lambda a, b, axis: a.mean(axis=axis),
    "ratio": lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis),
    "difference": lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
}


@pytest.mark.parametrize("interval", ["percentile", "bca"])
@pytest.mark.parametrize("statistic", MEANS)
def test_scipy_is_the_oracle(statistic: str, interval: str) -> None:
    """Skewed values, so that the two intervals differ."""
    chance = np.random.default_rng(3)
    above, below = chance.gamma(1.5, 1, 45), chance.gamma(4, 0.3, 45)
    ours = {
        "mean": lambda: bootstrap_mean(above, HOW, interval=interval),  # type: ignore[arg-type]
        "ratio": lambda: ratio_of_means(above, below, HOW, interval=interval),  # type: ignore[arg-type]
        "difference": lambda: difference(above, below, HOW, interval=interval),  # type: ignore[arg-type]
    }[statistic]()
    low, high = scipy_interval((above, below), MEANS[statistic], interval)
    assert ends(ours) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_correlations_against_scipy() -> None:
    x, y = np.random.default_rng(4).multivariate_normal([0, 5], [[1, 0.6], [0.6, 1]], 70).T
    y = np.round(y, 1)  # with ties
    for found, name in ((pearson(x, y, HOW, interval="cluster"), "pearsonr"), (spearman(x, y, HOW), "spearmanr")):
        reference = getattr(stats, name)
        assert found.value == pytest.approx(reference(x, y).statistic, abs=1e-12)
        low, high = scipy_interval((x, y), lambda a, b, reference=reference: reference(a, b).statistic)
        assert ends(found) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_each_resample_of_a_correlation_is_scipys() -> None:
    chance = np.random.default_rng(9)
    x, y = chance.normal(size=(2, 12, 3))
    y[4, 1] = np.nan
    clip, cell = np.nonzero(np.isfinite(y))
    for counts in clip_counts(12, 50, 1):
        weight = counts[clip].astype(int)
        a, b = (np.repeat(np.round(side[clip, cell], 1), weight) for side in (x, y))
        expected = stats.spearmanr(a, b).statistic, stats.pearsonr(a, b).statistic
        labels = np.repeat(np.arange(len(clip)), weight)
        assert spearman(a, b, Resampling(resamples=1000), clips=labels).value == pytest.approx(expected[0], abs=1e-12)
        assert pearson(a, b).value == pytest.approx(expected[1], abs=1e-12)
    asked = plan_pearson(x, y, 0.95, "percentile")
    assert isinstance(asked, PendingEstimate)
    counts = clip_counts(12, 50, 1)
    samples = asked.statistic.on((counts @ asked.statistic.sums).T, 12)
    for row, sample in zip(counts, samples, strict=True):
        weight = row[clip].astype(int)
        expected = stats.pearsonr(np.repeat(x[clip, cell], weight), np.repeat(y[clip, cell], weight)).statistic
        assert sample == pytest.approx(expected, abs=1e-12)


def test_a_correlation_far_from_zero_keeps_its_digits() -> None:
    x, y = np.random.default_rng(2).normal(size=(2, 50))
    assert pearson(x + 1e6, y - 1e7).value == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-8)


def test_pairs_of_one_clip_are_one_observation() -> None:
    """Twenty copies of each pair: Fisher believes them, the clusters do not."""
    x, y = np.random.default_rng(6).multivariate_normal([0, 0], [[1, 0.4], [0.4, 1]], 40).T
    wide_x, wide_y = (np.repeat(side[:, None], 20, axis=1) for side in (x, y))
    one, many = pearson(x, y, HOW, interval="cluster"), pearson(wide_x, wide_y, HOW, interval="cluster")
    assert ends(many) == pytest.approx(ends(one), abs=1e-12)
    fisher = ends(pearson(wide_x, wide_y))
    assert fisher[1] - fisher[0] < 0.4 * (ends(many)[1] - ends(many)[0])
    assert pearson(wide_x, wide_y).n == 800
    assert many.n == 40


def test_jumps_of_a_shared_clip_effect() -> None:
    """What clips share cancels in the paired interval, and only there."""
    chance = np.random.default_rng(8)
    clip = chance.normal(size=(60, 1))
    models = [clip + rise + 0.1 * chance.normal(size=(60, 4)) for rise in (0.0, -0.2, -0.1)]
    found = jumps(models)
    assert [round(step.value, 1) for step in found.steps] == [-0.2, 0.1]
    for step, (before, after) in zip(found.steps, ((0, 1), (1, 2)), strict=True):
        a, b = models[before].mean(1), models[after].mean(1)
        reference = stats.ttest_rel(b, a).confidence_interval()
        assert (step.low, step.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
        alone = [stats.ttest_1samp(side, 0).confidence_interval() for side in (a, b)]
        assert step.half_width == pytest.approx(math.hypot(*((end.high - end.low) / 2 for end in alone)), abs=1e-12)
    assert found.overall is not None
    assert found.overall.value == pytest.approx(sum(step.value for step in found.steps), abs=1e-12)


def test_estimates_survive_their_file() -> None:
    """A field that says nothing is not written."""
    assert set(maximum([1.0]).model_dump()) == {"value", "low", "high", "n", "method"}
    written = jumps([[1.0, 2.0], [2.0, 4.0]])
    assert Estimate.model_validate_json(written.model_dump_json()) == written


def test_bca_without_spread_or_correction() -> None:
    same = np.full(1000, 0.25)
    assert (bca_ends(0.25, same, np.full(10, 0.25), 0.95) == 0.25).all()
    assert np.isnan(bca_ends(0.0, same, np.full(10, 0.25), 0.95)).all()
    found = bootstrap_mean(np.full(10, 0.1), HOW, interval="bca")  # whose resampled means differ by rounding
    assert ends(found) == pytest.approx((0.1, 0.1), abs=1e-15)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_ends_are_numpys_quantiles(level: float) -> None:
    samples = CHANCE.normal(size=1237)
    assert percentile_ends(samples, level) == pytest.approx(np.quantile(samples, [(1 - level) / 2, (1 + level) / 2]))


TABLES = arrays.arrays(
    np.float64,
    st.tuples(st.integers(4, 9), st.integers(3, 5)),
    elements=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.75, 1.0]),
)
FEW = Resampling(resamples=200, seed=4)


@given(TABLES, st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=5, max_size=5))
def test_rank_correlations_are_scipys(means: NDArray[np.float64], along: list[float]) -> None:
    found = spearman_rho(means, np.array(along[: means.shape[1]])[None])
    for rho, row in zip(found, means, strict=True):
        if np.ptp(row) == 0 or np.ptp(along[: len(row)]) == 0:
            assert math.isnan(rho)
        else:
            assert rho == pytest.approx(stats.spearmanr(row, along[: len(row)]).statistic, abs=1e-12)


@given(TABLES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_rows_and_cells_changes_nothing(values: NDArray[np.float64], chance: object) -> None:
    """Rows with a clip's name come in any order; so do cells and, where pairs are flat, pairs."""
    clip = np.repeat(np.arange(len(values)), values.shape[1])
    order = np.arange(values.size)
    chance.shuffle(order)  # type: ignore[attr-defined]
    x, y = values.ravel(), values[::-1].ravel()
    names = np.array([f"clip {n}" for n in clip])
    assert cluster_bootstrap(x, names, FEW) == cluster_bootstrap(x[order], names[order], FEW)
    for interval in ("fisher", "cluster"):
        one = pearson(x, y, FEW, interval=interval, clips=names)
        assert one == pearson(x[order], y[order], FEW, interval=interval, clips=names[order])
    assert spearman(x, y, FEW, clips=names) == spearman(x[order], y[order], FEW, clips=names[order])
    cells = np.arange(values.shape[1])
    chance.shuffle(cells)  # type: ignore[attr-defined]
    straight, turned = (bootstrap_mean(table, FEW) for table in (values, values[:, cells]))
    assert ends(turned) == pytest.approx(ends(straight), abs=1e-15)
    strengths = 0.1 * np.arange(1, values.shape[1] + 1)
    straight, turned = trend(values, list(strengths), FEW), trend(values[:, cells], list(strengths[cells]), FEW)
    assert turned.value == straight.value


@given(TABLES)
@settings(deadline=None)
def test_asking_together_is_asking_alone(values: NDArray[np.float64]) -> None:
    few, strengths = values[:3], [0.1, 0.2, 0.3, 0.4, 0.5][: values.shape[1]]
    asked = [
        plan_mean(values),
        plan_mean(few, "bca"),
        maximum(values),
        plan_difference(values, values[:, ::-1] ** 2, "bca"),
        plan_trend(values, strengths),
    ]
    for one, together in zip(asked, evaluate(asked, FEW), strict=True):
        (alone,) = evaluate([one], FEW)
        assert alone.method == together.method
        assert (alone.value is None) == (together.value is None)
        if alone.defined:
            assert ends(together) == pytest.approx(ends(alone), abs=1e-12)


@given(TABLES, st.floats(-3, 3), st.floats(0.1, 3))
@settings(deadline=None)
def test_estimates_move_and_stretch_with_the_values(values: NDArray[np.float64], by: float, times: float) -> None:
    before, after = (bootstrap_mean(table, FEW) for table in (values, values * times + by))
    assert ends(after) == pytest.approx(tuple(end * times + by for end in ends(before)), abs=1e-9)
    other = values[:, ::-1] ** 2
    before, after = difference(values, other, FEW), difference(values * times + by, other * times + by, FEW)
    assert ends(after) == pytest.approx(tuple(end * times for end in ends(before)), abs=1e-9)
    back = difference(other, values, FEW)
    assert ends(back) == pytest.approx((-ends(difference(values, other, FEW))[1], -ends(before)[0]), abs=1e-12)
