"""Curves judged by paired simultaneous intervals, and by the published criterion."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjepa_stress.report import words
from vjepa_stress.rules.monotone import Monotone
from vjepa_stress.rules.monotone_pooled import MonotonePooled
from vjepa_stress.statistics.numerics.estimate import Estimate, Step
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.estimate import jumps
from vjepa_stress.verdict.judge import judge

HOW = Resampling(resamples=2000, seed=1)
FALLS = Monotone(kind="monotone", estimand="x", order="falling", smallest=0.0, tolerance=0.0)
POOLED = MonotonePooled(kind="monotone_pooled", estimand="x", order="falling", noise=2.0)

Interval = tuple[float, float]


def curve(steps: Sequence[Interval], whole: Interval) -> Estimate:
    """An estimate of jumps with these intervals."""
    *changes, overall = (Step(value=(low + high) / 2, low=low, high=high, n=40) for low, high in (*steps, whole))
    low, high = whole
    return Estimate(
        value=overall.value, low=low, high=high, n=40, method="max-t", steps=tuple(changes), overall=overall
    )


@pytest.mark.parametrize(
    ("steps", "whole", "smallest", "tolerance", "expected"),
    [
        ([(-0.3, -0.1), (-0.3, -0.1)], (-0.5, -0.3), 0.2, 0.05, "confirmed"),
        ([(-0.3, -0.1), (-0.1, 0.04)], (-0.5, -0.3), 0.2, 0.05, "confirmed"),  # a reversal within the tolerance
        ([(-0.3, -0.1), (-0.1, 0.06)], (-0.5, -0.3), 0.2, 0.05, "ambiguous"),  # perhaps a larger one
        ([(-0.6, -0.4), (0.06, 0.2)], (-0.5, -0.3), 0.2, 0.05, "refuted"),  # certainly a larger one
        ([(-0.2, -0.1), (-0.2, -0.1)], (-0.3, -0.19), 0.2, 0.05, "ambiguous"),
        ([(-0.1, 0.0), (-0.1, 0.0)], (-0.19, -0.05), 0.2, 0.05, "refuted"),  # a fall that is too small to matter
        ([(0.0, 0.1), (0.0, 0.1)], (0.01, 0.2), 0.0, 0.5, "refuted"),  # a reversal from first to last
        ([(0.0, 0.0)], (0.0, 0.0), 0.0, 0.0, "ambiguous"),  # no change at all
    ],
)
def test_monotone(
    steps: Sequence[Interval], whole: Interval, smallest: float, tolerance: float, expected: str
) -> None:
    rule = FALLS.model_copy(update={"smallest": smallest, "tolerance": tolerance})
    verdict = judge(rule, {"x": curve(steps, whole)})
    assert verdict.outcome == expected
    assert "simultaneous" in words.clause(verdict)
    mirrored = curve([(-high, -low) for low, high in steps], (-whole[1], -whole[0]))
    assert judge(rule.model_copy(update={"order": "rising"}), {"x": mirrored}).outcome == expected


ENDS = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda pair: (min(pair), max(pair)))


@given(st.lists(ENDS, min_size=1, max_size=4), ENDS, st.floats(0, 0.5), st.floats(0, 0.5))
def test_narrower_intervals_never_reverse_a_verdict(
    steps: list[Interval], whole: Interval, smallest: float, tolerance: float
) -> None:
    """So its confirmation is monotone in α, and its p-value is well defined."""
    rule = FALLS.model_copy(update={"smallest": smallest, "tolerance": tolerance})
    decision = rule.decide(0, 0, 0, curve(steps, whole))
    assert not (decision.confirmed and decision.refuted)
    middles = [((low + high) / 2,) * 2 for low, high in (*steps, whole)]
    narrow = judge(rule, {"x": curve(middles[:-1], middles[-1])}).outcome
    assert judge(rule, {"x": curve(steps, whole)}).outcome in {"ambiguous", narrow}


def shared_units(means: Sequence[float], n: int = 200, own: float = 0.02, seed: int = 0) -> list[np.ndarray]:
    """Models on the same clips: clips differ by far more than models do on one clip."""
    chance = np.random.default_rng(seed)
    clip = 0.108 * chance.normal(size=(n, 1))
    return [clip + mean + own * chance.normal(size=(n, 10)) for mean in means]


def verdicts(models: list[np.ndarray]) -> tuple[str, str]:
    """The verdict by paired intervals, and that by the published criterion, on the claim that the curve falls."""
    paired, pooled = (jumps(models, HOW, interval=interval) for interval in ("max-t", "pooled"))
    return judge(FALLS, {"x": paired}).outcome, judge(POOLED, {"x": pooled}).outcome


def test_a_rise_at_every_step_is_no_fall() -> None:
    """Every paired interval is above 0, but every pooled half-width is larger than the step."""
    models = shared_units([0.3, 0.303, 0.306, 0.309])
    assert all((step.low or 0) > 0 for step in jumps(models, HOW, interval="max-t").steps)
    assert verdicts(models) == ("refuted", "ambiguous")


def test_a_certain_rise_in_the_last_step_refutes() -> None:
    models = shared_units([0.40, 0.36, 0.32, 0.337])
    last = jumps(models, HOW, interval="max-t").steps[-1]
    assert (last.low or 0) > 0.01
    assert verdicts(models) == ("refuted", "confirmed")


def test_many_small_rises_are_a_rise() -> None:
    """Eleven models that rise by 1.8 pooled half-widths each."""
    half = jumps(shared_units([0.0, 0.0]), HOW).steps[0].half_width
    assert half is not None
    models = shared_units([0.2 + 1.8 * half * number for number in range(11)])
    whole = jumps(models, HOW).overall
    assert whole is not None
    assert whole.value > 15 * (whole.half_width or np.inf)
    assert verdicts(models) == ("refuted", "ambiguous")


@pytest.mark.parametrize("interval", ["max-t", "pooled"])
def test_coverage_on_shared_clips(interval: Literal["max-t", "pooled"]) -> None:
    """Simultaneous intervals hold in about 95 % of studies; pooled half-widths never fail, so they say nothing."""
    held, studies, means = 0, 300, (0.3, 0.29, 0.28, 0.27)
    for seed in range(studies):
        found = jumps(
            shared_units(means, n=30, own=0.05, seed=seed), Resampling(resamples=500, seed=seed), interval=interval
        )
        assert found.overall is not None
        truths = (-0.01, -0.01, -0.01, -0.03)
        steps = zip((*found.steps, found.overall), truths, strict=True)
        if interval == "max-t":
            held += all((step.low or 0) <= truth <= (step.high or 0) for step, truth in steps)
        else:
            held += all(abs(step.value - truth) <= (step.half_width or 0) for step, truth in steps)
    if interval == "max-t":
        assert 0.915 <= held / studies <= 0.985
    else:
        assert held == studies
