"""Intervals contain the true value as often as they say; the full study is `python -m tests.bench coverage`."""

import pytest
from scipy import stats

from tests.bench.bench_coverage import coverage

REPLICATES = 200
OFFERED = (
    "mean",
    "difference",
    "ratio_of_means",
    "trend, change",
    "jumps, all together",
    "pearson",
    "within_cell",
    "spearman",
)
"""From 30 sources on; those that need 60 are in `tests/statistics/test_jackknife.py`."""


@pytest.mark.parametrize("family", ["normal", "t3", "lognormal", "beta", "clipped"])
def test_registered_intervals_hold_with_thirty_sources(family: str) -> None:
    """Each share is one that a coverage of 93 % gives in all but one of ten thousand tests."""
    found = coverage(family, 30, REPLICATES, resamples=400)
    lowest = stats.binom.ppf(1e-4, REPLICATES, 0.93) / REPLICATES
    assert {name: found[name] for name in OFFERED if found[name] < lowest} == {}
    # 95 % in name only: pairs of one source are not independent.
    assert found["pearson, Fisher"] < 0.88


def test_ten_sources_are_too_few() -> None:
    """So `check` refuses them."""
    found = coverage("beta", 10, 600, resamples=400)
    assert found["mean"] < 0.93
    assert found["mean, percentile"] < found["mean"]
