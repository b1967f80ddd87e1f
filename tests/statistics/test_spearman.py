"""Weighted rank correlations against scipy's on rows written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import stats

from vjepa_stress.statistics.numerics import ranks
from vjepa_stress.statistics.numerics.ranks import spearman_rho

Floats = NDArray[np.float64]

LEVELS = st.sampled_from([-1.5, 0.0, 0.0, 0.25, 1.0, 3.0])
"""Few, so that ties are common."""


def scipys(x: Floats, y: Floats, weights: Floats) -> float:
    """Rho of each pair repeated as often as it counts; NaN where a side is constant or holds NaN."""
    if np.isnan(x).any() or np.isnan(y).any():
        return math.nan
    counts = weights.astype(int)
    one, other = np.repeat(x, counts), np.repeat(y, counts)
    if len(one) == 0 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(stats.spearmanr(one, other).statistic)


def check(found: Floats, x: Floats, y: Floats, weights: Floats) -> None:
    rows = max(len(x), len(y), len(weights))
    assert found.shape == (rows,)
    sides = (np.broadcast_to(part, (rows, part.shape[1])) for part in (x, y, weights))
    for rho, *row in zip(found, *sides, strict=True):
        assert rho == pytest.approx(scipys(*row), abs=1e-12, nan_ok=True)


@st.composite
def sides(draw: st.DrawFn, values: st.SearchStrategy[float] = LEVELS) -> tuple[Floats, Floats, Floats]:
    """x, y and weights; each of x and y with its own rows, or one row for all."""
    n, rows = draw(st.integers(2, 9)), draw(st.integers(1, 4))
    x, y = (draw(arrays.arrays(np.float64, (draw(st.sampled_from([1, rows])), n), elements=values)) for _ in range(2))
    counts = draw(arrays.arrays(np.int64, (rows, n), elements=st.integers(0, 3)))
    return x, y, counts.astype(np.float64)


@given(sides())
def test_weights_are_repetitions(drawn: tuple[Floats, Floats, Floats]) -> None:
    x, y, weights = drawn
    check(spearman_rho(x, y, weights), x, y, weights)


@given(sides(st.one_of(LEVELS, st.just(math.nan))))
def test_a_row_with_nan_has_no_rho_and_spoils_no_other(drawn: tuple[Floats, Floats, Floats]) -> None:
    x, y, weights = drawn
    check(spearman_rho(x, y, weights), x, y, weights)


@given(sides(st.floats(-1e6, 1e6)))
def test_without_weights_each_pair_counts_once(drawn: tuple[Floats, Floats, Floats]) -> None:
    x, y, weights = drawn
    check(spearman_rho(x, y), x, y, np.ones((1, weights.shape[1])))


@given(sides(), st.integers(2, 9))
def test_each_pair_several_times_changes_nothing(drawn: tuple[Floats, Floats, Floats], times: int) -> None:
    x, y, weights = drawn
    assert spearman_rho(x, y, times * weights) == pytest.approx(spearman_rho(x, y, weights), abs=1e-12, nan_ok=True)


def test_constants_have_no_order() -> None:
    rising, flat = np.arange(4.0)[None], np.full((1, 4), 0.1)
    assert np.isnan(spearman_rho(rising, flat)).all()
    assert np.isnan(spearman_rho(flat, rising)).all()
    # All that counts is one pair, drawn four times.
    assert np.isnan(spearman_rho(rising, rising, np.array([[0.0, 4.0, 0.0, 0.0]]))).all()


def test_many_rows_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(2)
    x, y = chance.integers(0, 5, (2, 1, 7)).astype(float)
    weights = chance.integers(0, 3, (50, 7)).astype(float)
    wide = np.repeat(y, 50, axis=0) + chance.integers(0, 2, (50, 7)).astype(float)
    whole = spearman_rho(x, y, weights), spearman_rho(x, wide, weights), spearman_rho(x, wide)
    monkeypatch.setattr(ranks, "_AT_ONCE", 7 * 3)
    parts = spearman_rho(x, y, weights), spearman_rho(x, wide, weights), spearman_rho(x, wide)
    for one, other in zip(whole, parts, strict=True):
        assert len(one) == 50
        np.testing.assert_array_equal(one, other)
