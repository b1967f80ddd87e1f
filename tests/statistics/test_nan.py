"""Missing values: an estimate from an array with NaN is the estimate without it, and says what was left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vjepa_stress.report import words
from vjepa_stress.statistics.difference import difference
from vjepa_stress.statistics.jumps import jumps
from vjepa_stress.statistics.maximum import maximum
from vjepa_stress.statistics.mean import bootstrap_mean, cluster_bootstrap
from vjepa_stress.statistics.numerics.estimate import Estimate, Note
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.pearson import pearson
from vjepa_stress.statistics.ratio_of_means import ratio_of_means
from vjepa_stress.statistics.spearman import spearman
from vjepa_stress.statistics.trend import trend

Floats = NDArray[np.float64]
HOW = Resampling(resamples=1000, seed=3)
STRENGTHS = [0.2, 0.5, 0.8, 1.0]

ALONE: dict[str, Callable[[Floats], Estimate]] = {
    "mean": lambda x: bootstrap_mean(x, HOW),
    "mean, BCa": lambda x: bootstrap_mean(x, HOW, interval="bca"),
    "trend": lambda x: trend(x, STRENGTHS, HOW),
    "trend, BCa": lambda x: trend(x, STRENGTHS, HOW, interval="bca"),
    "maximum": maximum,
}
PAIRED: dict[str, Callable[[Floats, Floats], Estimate]] = {
    "ratio": lambda x, y: ratio_of_means(x, y, HOW),
    "ratio, BCa": lambda x, y: ratio_of_means(x, y, HOW, interval="bca"),
    "difference": lambda x, y: difference(x, y, HOW),
    "difference, BCa": lambda x, y: difference(x, y, HOW, interval="bca"),
}


def left_out(values: int) -> tuple[Note, ...]:
    return (Note(code="values-left-out", value=values),)


def test_one_missing_unit_of_three() -> None:
    found = bootstrap_mean([1.0, 0.0, np.nan], HOW)
    assert (found.value, found.n, found.notes) == (0.5, 2, left_out(1))
    assert words.notes(found) == "1 undefined values left out"
    assert bootstrap_mean([1.0, 0.0], HOW) == found.model_copy(update={"notes": ()})


def table(units: int = 12) -> Floats:
    return np.random.default_rng(1).uniform(0.1, 1.0, (units, len(STRENGTHS)))


@pytest.mark.parametrize("name", ALONE)
def test_units_without_any_value_are_as_if_they_were_not_there(name: str) -> None:
    values = table()
    values[[0, 5, 11]] = np.nan
    found, without = (ALONE[name](part) for part in (values, np.delete(values, [0, 5, 11], axis=0)))
    assert found.n == 9
    assert without.notes == ()
    assert found == without.model_copy(update={"notes": left_out(3 * len(STRENGTHS))})


@pytest.mark.parametrize("name", ALONE)
def test_a_unit_with_some_values_stays(name: str) -> None:
    values = table()
    values[4, 2] = np.nan
    found = ALONE[name](values)
    assert (found.n, found.notes) == (12, left_out(1))


@pytest.mark.parametrize("name", PAIRED)
def test_a_unit_that_one_side_lacks_is_missing_on_both(name: str) -> None:
    x, y = table(), table()[::-1].copy() ** 2
    x[2], y[7] = np.nan, np.nan
    found, without = PAIRED[name](x, y), PAIRED[name](*(np.delete(part, [2, 7], axis=0) for part in (x, y)))
    assert found.n == 10
    assert without.notes == ()
    assert found == without.model_copy(update={"notes": left_out(2 * len(STRENGTHS))})


@given(st.lists(st.one_of(st.just(np.nan), st.floats(-10, 10)), max_size=12))
def test_where_the_gaps_are_does_not_matter(values: list[float]) -> None:
    kept = [value for value in values if not np.isnan(value)]
    found, without = bootstrap_mean(values, HOW), bootstrap_mean(kept, HOW)
    assert (found.value, found.low, found.high, found.n) == (without.value, without.low, without.high, len(kept))
    gaps = len(values) - len(kept)
    assert found.notes == (*without.notes, *(left_out(gaps) if gaps else ()))


def test_nothing_but_gaps_is_undefined_and_says_both() -> None:
    found = bootstrap_mean([np.nan, np.nan, np.nan], HOW)
    assert (found.value, found.n) == (None, 0)
    assert {note.code for note in found.notes} == {"too-few-units", "values-left-out"}


def test_correlations_and_jumps_say_what_they_left_out() -> None:
    x, y = table(), table()[::-1].copy() ** 2
    gaps = x.copy()
    gaps[3, 1] = np.nan
    kept = np.isfinite(gaps)
    units = np.repeat(np.arange(len(x))[:, None], x.shape[1], axis=1)
    for correlate in (pearson, spearman):
        found, without = correlate(gaps, y, HOW), correlate(x[kept], y[kept], HOW, clips=units[kept])
        expected = (without.value, without.low, without.high)
        assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12)
        assert (found.n, found.pairs, found.notes) == (without.n, without.pairs, left_out(1))
        assert correlate(gaps[kept], y[kept], HOW, clips=units[kept]).notes == ()
    assert jumps([gaps, y], HOW).notes == left_out(1)
    assert jumps([x, y], HOW).notes == ()
    assert cluster_bootstrap(gaps.ravel(), units.ravel(), HOW).notes == left_out(1)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused(value: float) -> None:
    x, y = table(), table()[::-1].copy()
    x[0, 0] = value
    units = np.repeat(np.arange(len(x))[:, None], x.shape[1], axis=1)
    calls: tuple[Callable[[], Estimate], ...] = (
        lambda: pearson(x, y, HOW),
        lambda: spearman(x, y, HOW),
        lambda: jumps([x, y], HOW),
        lambda: bootstrap_mean(x, HOW),
        lambda: cluster_bootstrap(x.ravel(), units.ravel(), HOW),
    )
    for call in calls:
        with pytest.raises(ValueError, match="values must be finite"):
            call()
