"""Confidence sequences by betting: against their definition, other implementations, and simulated looks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import special, stats

from vjepa_stress.statistics.numerics.betting import bets, interval_of_shares
from vjepa_stress.statistics.numerics.estimate import Note
from vjepa_stress.verdict.estimate import betting_mean

Floats = NDArray[np.float64]

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "g_betting" / "confseq.json").read_text())
SHARES = arrays.arrays(np.float64, st.integers(2, 40), elements=st.floats(0, 1, width=32))
LEVELS = st.sampled_from([0.5, 0.9, 0.95, 0.999])

FAMILIES: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], Floats], float]] = {
    "bernoulli, 0.1": (lambda chance, shape: chance.binomial(1, 0.1, shape).astype(np.float64), 0.1),
    "bernoulli, 0.5": (lambda chance, shape: chance.binomial(1, 0.5, shape).astype(np.float64), 0.5),
    "beta": (lambda chance, shape: chance.beta(0.5, 3, shape), 0.5 / 3.5),
    "clipped": (
        lambda chance, shape: (0.2 + 0.3 * chance.standard_normal(shape)).clip(0, 1),
        # E of a normal clipped to [0, 1]
        float(
            0.2 * (special.ndtr(0.8 / 0.3) - special.ndtr(-0.2 / 0.3))
            + 0.3 * (stats.norm.pdf(-0.2 / 0.3) - stats.norm.pdf(0.8 / 0.3))
            + special.ndtr(-0.8 / 0.3)
        ),
    ),
}


def by_definition(values: list[float], level: float, m: float) -> bool:
    """Whether a mean is left: theorem 3 of the paper, one value after the other, with θ = 1/2, c = 3/4."""
    up = down = 1.0
    total, squares, alpha = 0.5, 0.25, 1 - level
    variance = 0.25
    for t, x in enumerate(values, 1):
        bet = math.sqrt(2 * math.log(2 / 0.05) / (variance * t * math.log(t + 1)))
        up *= 1 + (min(bet, 0.75 / m) if m > 0 else bet) * (x - m)
        down *= 1 - (min(bet, 0.75 / (1 - m)) if m < 1 else bet) * (x - m)
        if max(0.5 * up, 0.5 * down) >= 1 / alpha:
            return False
        total += x
        squares += (x - total / (t + 1)) ** 2
        variance = squares / (t + 1)
    return True


@given(SHARES, LEVELS)
def test_the_interval_has_exactly_the_means_that_the_definition_leaves(values: Floats, level: float) -> None:
    low, high = interval_of_shares(values, level)
    for m in [*np.linspace(0, 1, 41).tolist(), low - 1e-9, low + 1e-9, high - 1e-9, high + 1e-9]:
        if 0 <= m <= 1 and min(abs(m - low), abs(m - high)) > 5e-10:
            assert by_definition(values.tolist(), level, m) == (low < m < high)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['data']}, {case['level']}")
def test_the_authors_of_the_method_have_the_same_ends(case: dict[str, Any]) -> None:
    values = np.array(GOLDEN["data"][case["data"]])
    for n, ends in zip(case["looks"], case["ends"], strict=True):
        # The grid of confseq is made wider by one step on each side.
        assert interval_of_shares(values[:n], case["level"]) == pytest.approx(ends, abs=2.1 / GOLDEN["grid"])


@pytest.mark.parametrize("family", FAMILIES)
def test_ville_has_the_same_ends_after_every_value(family: str) -> None:
    ville = pytest.importorskip("ville")
    values = 2 * FAMILIES[family][0](np.random.default_rng(3), (1, 120))[0] - 1
    sequence = ville.BettingCS(bounds=(-1.0, 1.0), alpha=0.05, c=0.75, grid=4001)
    sequence.update(values)
    lower, upper = np.asarray(sequence.lower_), np.asarray(sequence.upper_)
    for n in range(2, 121, 7):
        found = betting_mean(values[:n], (-1, 1))
        assert (found.low, found.high) == pytest.approx((lower[n - 1], upper[n - 1]), abs=2.1 * 2 / 4000)


@given(SHARES, st.integers(2, 40))
def test_intervals_are_nested_in_the_level_and_in_the_number_of_values(values: Floats, fewer: int) -> None:
    (low, high), (wide_low, wide_high) = (interval_of_shares(values, level) for level in (0.9, 0.99))
    assert wide_low <= low
    assert high <= wide_high
    earlier_low, earlier_high = interval_of_shares(values[: max(2, min(fewer, len(values)))], 0.9)
    assert earlier_low <= low
    assert high <= earlier_high


@given(SHARES, LEVELS)
def test_the_mirror_image_has_the_mirrored_interval(values: Floats, level: float) -> None:
    low, high = interval_of_shares(values, level)
    other_low, other_high = interval_of_shares(1 - values, level)
    assert (1 - other_high, 1 - other_low) == pytest.approx((low, high), abs=1e-9)


@given(SHARES)
def test_bets_depend_only_on_earlier_values(values: Floats) -> None:
    changed = values.copy()
    changed[-1] = 1 - changed[-1]
    assert bets(values).tolist() == bets(changed).tolist()


def test_an_estimate_has_the_mean_and_the_scale_of_its_values() -> None:
    shares = np.random.default_rng(1).beta(2, 5, (50, 3))
    found, scaled = betting_mean(shares, (0, 1)), betting_mean(4 * shares - 1, (-1, 3))
    assert found.value == pytest.approx(shares.mean())
    assert (found.n, found.method, found.notes) == (50, "betting", ())
    assert (scaled.low, scaled.high) == pytest.approx((4 * (found.low or 0) - 1, 4 * (found.high or 0) - 1))
    assert found == betting_mean(shares.mean(axis=1), (0, 1))  # units are averaged first


def test_units_without_a_value_are_left_out() -> None:
    values = np.random.default_rng(1).uniform(size=(20, 2))
    holed = np.insert(values, 5, np.nan, axis=0)
    found = betting_mean(holed, (0, 1))
    assert found.notes == (Note(code="values-left-out", value=2),)
    assert found.model_copy(update={"notes": ()}) == betting_mean(values, (0, 1))


def test_what_makes_an_estimate_undefined() -> None:
    assert betting_mean([0.5], (0, 1)).notes == (Note(code="too-few-units"),)
    assert betting_mean([0.5, 1.5, 0.5], (0, 1)).notes == (Note(code="out-of-range"),)
    assert betting_mean([0.5, 1 + 1e-12], (0, 1)).defined  # rounding
    # First all 0, then all 1: no distribution has both.
    changed = betting_mean([0.0] * 60 + [1.0] * 400, (0, 1))
    assert not changed.defined
    assert changed.notes == (Note(code="no-mean-left"),)
    with pytest.raises(ValueError, match="must be finite"):
        betting_mean([0.5, math.inf], (0, 1))


STUDIES, LONGEST = 1000, 200


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_is_hardly_ever_excluded_at_any_look(family: str) -> None:
    """In more than 5 % of all studies, an interval for a fixed n excludes the mean at one of many looks."""
    draw, mean = FAMILIES[family]
    values = draw(np.random.default_rng(7), (STUDIES, LONGEST))
    # The running intersection after all values contains the mean only if no earlier interval excluded it.
    ends = [interval_of_shares(one, 0.95) for one in values]
    excluded = sum(not low <= mean <= high for low, high in ends)
    # Chance of more with α = 5 %: below 0.1 %.
    assert excluded <= stats.binom.ppf(0.999, STUDIES, 0.05)
    n = np.arange(1, LONGEST + 1)
    means = values.cumsum(axis=1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt(((values**2).cumsum(axis=1) / n - means**2).clip(0) * n / (n - 1))
        half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
    ever = (np.abs(means - mean) > half)[:, 29:].any(axis=1).sum()
    assert ever > 2 * stats.binom.ppf(0.999, STUDIES, 0.05)


@pytest.mark.parametrize("family", ["bernoulli, 0.1", "beta"])
def test_it_is_narrower_than_other_intervals_for_bounded_values(family: str) -> None:
    ville = pytest.importorskip("ville")
    values = FAMILIES[family][0](np.random.default_rng(11), (20, LONGEST))
    widths: dict[str, list[float]] = {"betting": [], "bernstein": [], "mixture": []}
    for one in values:
        low, high = interval_of_shares(one, 0.95)
        widths["betting"].append(high - low)
        for name, sequence in (
            ("bernstein", ville.EmpiricalBernsteinCS(alpha=0.05)),
            ("mixture", ville.GaussianMixtureCS(sigma=0.5, alpha=0.05, t_opt=LONGEST)),
        ):
            sequence.update(one)
            widths[name].append(float(np.asarray(sequence.upper_)[-1] - np.asarray(sequence.lower_)[-1]))
    means = {name: float(np.mean(found)) for name, found in widths.items()}
    assert means["betting"] < means["bernstein"]
    assert means["betting"] < means["mixture"]
    assert means["betting"] < 2 * math.sqrt(math.log(2 / 0.05) / (2 * LONGEST))  # Hoeffding, for one look
