"""Jackknife intervals against plain loops over units, closed forms, and worlds whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.bench.bench_coverage import coverage_at
from tests.statistics.test_association import CELLS, FAILURE, GROUPS, Floats, area, data, line, long, r_within
from vjepa_stress.design import Cell
from vjepa_stress.statistics import STATISTICS
from vjepa_stress.statistics.base import Sample
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.statistics.numerics.jackknife import Jackknife, of_share
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.estimate import auroc, incremental, pearson, transfer, within_cell

HOW = Resampling(level=0.9)


def half_width(without: Sequence[float] | Floats, level: float = HOW.level) -> float:
    """Quantile of Student's t times the jackknife error. The kurtosis gives the degrees of freedom."""
    n = len(without)
    freedom = min(n - 1, 2 * (n - 1) / (stats.kurtosis(without, fisher=False) - 1))
    return float(stats.t.ppf((1 + level) / 2, freedom) * math.sqrt((n - 1) * np.var(without)))


def without_each(frame: pd.DataFrame, of: Callable[[pd.DataFrame], float]) -> list[float]:
    """The statistic of the frame without each unit in turn."""
    return [of(frame[frame["unit"] != unit]) for unit in sorted(frame["unit"].unique())]


def ends(found: Estimate) -> tuple[float | None, float | None]:
    assert found.method == "jackknife"
    return found.low, found.high


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(0).standard_t(4, size=25)
    found = Jackknife.of((x.sum() - x) / 24)
    assert found.error == pytest.approx(stats.sem(x), rel=1e-12)
    assert found.freedom == pytest.approx(min(24, 2 * 24 / (stats.kurtosis(x, fisher=False) - 1)), rel=1e-12)
    assert found.half_width(0.95) == pytest.approx(stats.t.ppf(0.975, found.freedom) * stats.sem(x), rel=1e-12)


def test_degrees_of_freedom_count_the_units_that_matter() -> None:
    even = np.tile([1.0, -1.0], 20)
    assert Jackknife.of(even).freedom == 39
    alone = np.zeros(40)
    alone[7] = 1.0  # kurtosis is at most n − 2 + 1/(n − 1)
    assert Jackknife.of(alone).freedom == pytest.approx(2, abs=0.2)
    assert Jackknife.of(np.ones(5)) == Jackknife(0.0, 4)
    assert math.isnan(Jackknife.of(np.array([1.0, np.nan, 2.0])).half_width(0.95))


def test_strata_have_means_of_their_own() -> None:
    """The mean over two data sets of 6 and 14 units, which do not move together."""
    x = np.random.default_rng(1).normal(size=20) + np.repeat([0.0, 50.0], [6, 14])
    found = Jackknife.of((x.sum() - x) / 19, (6, 14))
    parts = x[:6], x[6:]
    expected = sum((len(part) / 20) ** 2 * part.var(ddof=1) / len(part) for part in parts)
    assert found.error**2 == pytest.approx(expected, rel=1e-9)
    assert found.freedom <= 18
    assert found.error < 0.2 * Jackknife.of((x.sum() - x) / 19).error
    # A stratum of one unit has no spread.
    alone = Jackknife.of(np.array([1.0, 2.0, 9.0]), (2, 1)).error
    assert alone == Jackknife.of(np.array([1.0, 2.0, 5.0]), (2, 1)).error > 0


@pytest.mark.parametrize("holes", [False, True])
def test_correlations_leave_out_each_unit(holes: bool) -> None:
    x, y = data(holes=holes)
    frame = long(x, y, CELLS)
    pooled = frame.assign(label=0)
    asked = (frame, within_cell(x, y, CELLS, HOW)), (pooled, pearson(x, y, HOW, interval="jackknife"))
    for table, found in asked:
        z, half = np.arctanh(r_within(table)), half_width(np.arctanh(without_each(table, r_within)))
        assert found.value == pytest.approx(np.tanh(z), abs=1e-9)
        assert ends(found) == pytest.approx((np.tanh(z - half), np.tanh(z + half)), abs=1e-9)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("groups", [GROUPS, CELLS])
def test_the_gain_leaves_out_each_unit(groups: list[int], holes: bool) -> None:
    x, y = data(holes=holes)
    frame = long(x, y, groups)
    units = frame["unit"].nunique()
    frame = frame[frame.groupby("label")["unit"].transform("nunique") > 1]

    def semipartial(part: pd.DataFrame) -> float:
        beyond = part["x"] - part.groupby("label")["x"].transform("mean")
        return float(np.corrcoef(beyond, part["y"])[0, 1])

    found = incremental(x, y, groups, HOW)
    assert found.value is not None
    assert found.n == units
    z, half = math.atanh(abs(semipartial(frame))), half_width(np.arctanh(without_each(frame, semipartial)))
    low = min(z, math.atanh(math.sqrt(found.value))) - half
    assert ends(found) == pytest.approx((math.copysign(math.tanh(low) ** 2, low), math.tanh(z + half) ** 2), abs=1e-9)


@pytest.mark.parametrize("holes", [False, True])
def test_transfer_leaves_out_each_unit(holes: bool) -> None:
    x, y = data(holes=holes)
    frame = long(x, y, GROUPS)

    def share(part: pd.DataFrame) -> float:
        explained, total = line(part)
        return float(explained.sum() / total.sum())

    found, without = transfer(x, y, GROUPS, HOW), without_each(frame, share)
    value, half = share(frame), half_width(without)
    expected = of_share(value, np.array(without), HOW.level, ())
    assert ends(found) == pytest.approx(expected, abs=1e-7)
    assert expected.low <= value - half
    assert expected.high >= value + half


def test_the_area_leaves_out_each_unit() -> None:
    x, y = data()
    frame = long(x, y, CELLS)

    def of(part: pd.DataFrame) -> float:
        return area(part["x"].to_numpy(), part["y"].to_numpy() >= FAILURE)

    value = of(frame)
    half = half_width(without_each(frame, of)) / (value * (1 - value))
    logit = math.log(value / (1 - value))
    expected = [1 / (1 + math.exp(-(logit + sign * half))) for sign in (-1, 1)]
    assert ends(auroc(x, y, FAILURE, HOW)) == pytest.approx(expected, abs=1e-9)


def test_a_share_is_at_most_one_and_its_intervals_are_nested() -> None:
    without = np.random.default_rng(0).normal(size=50)
    for share in (-3.0, -0.1, 0.0, 0.05, 0.5, 0.97):
        found = [of_share(share, share + 0.01 * without, level, ()) for level in (0.5, 0.9, 0.99)]
        assert all(one.low < share < one.high <= 1 for one in found)
        assert [one.low for one in found] == sorted((one.low for one in found), reverse=True)
        assert [one.high for one in found] == sorted(one.high for one in found)
    assert of_share(0.3, np.full(9, 0.3), 0.95, ()) == (0.3, 0.3)


def test_perfect_association_has_no_error() -> None:
    x = np.random.default_rng(2).normal(size=(30, 4))
    assert ends(pearson(x, 1 + x, HOW, interval="jackknife")) == pytest.approx((1, 1), abs=1e-9)
    assert ends(within_cell(x, -x, range(4), HOW)) == pytest.approx((-1, -1), abs=1e-9)
    assert ends(transfer(x, 2 + 3 * x, range(4), HOW)) == pytest.approx((1, 1), abs=1e-9)
    assert ends(auroc(x, x, 0.0, HOW)) == (1, 1)


def test_strata_reach_the_statistics() -> None:
    """A unit is compared with the units of its own data set, so that data sets that differ add no error."""
    x, y = data(holes=False)
    x[:5] += 30
    y[:5] += 30
    cells = [Cell({"n": float(n)}) for n in GROUPS]
    more: dict[str, dict[str, object]] = {"incremental": {"beyond": ["n"]}, "transfer": {"leave_out": "n"}}
    for name in ("pearson", "within_cell", "incremental", "transfer"):
        estimand = STATISTICS[name].model_validate(
            {"statistic": name, "x": "M2", "y": "dM3", "where": {}, **more.get(name, {})}
        )
        pooled, apart = (estimand.plan(Sample([x, y], cells, strata), HOW) for strata in ((14,), (5, 9)))
        assert isinstance(pooled, Estimate)
        assert isinstance(apart, Estimate)
        assert pooled.value == apart.value
        assert (pooled.low, pooled.high) != (apart.low, apart.high)


@pytest.mark.parametrize("family", ["normal", "t3", "lognormal", "beta", "clipped"])
def test_intervals_hold_with_sixty_sources(family: str) -> None:
    """Each share is one that a coverage of 93 % gives in all but one of ten thousand tests."""
    replicates = 300
    found = coverage_at(0.5, family, 60, replicates)
    lowest = stats.binom.ppf(1e-4, replicates, 0.93) / replicates
    assert {name: share for name, share in found.items() if share < lowest} == {}


def test_a_gain_of_nothing_is_rarely_shown() -> None:
    """The sign of an association is not known; without one, the lower end is above 0 in at most 2.5 % and not 5 %."""
    shown, replicates = 0, 400
    for seed in range(replicates):
        x, y = np.random.default_rng(seed).normal(size=(2, 60, 4))
        shown += (incremental(x, y, range(4), Resampling(resamples=1)).low or 0) > 0
    assert shown <= stats.binom.ppf(1 - 1e-4, replicates, 0.025)
