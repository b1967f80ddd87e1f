"""Intervals hold the truth as often as they say; the measured study is `python -m tests.bench stats`."""

import pytest
from scipy import stats

from tests.bench.bench_stats import coverage

REPLICATES = 250


@pytest.mark.parametrize(("n", "nominal"), [(200, 0.93), (30, 0.91)])
def test_intervals_hold_the_truth(n: int, nominal: float) -> None:
    """Each share is one that a coverage of at least `nominal` gives in all but one of ten thousand tests."""
    found = coverage(n, REPLICATES, resamples=400)
    believing = found.pop("pearson of pairs that share clips, Fisher")
    lowest = stats.binom.ppf(1e-4, REPLICATES, nominal) / REPLICATES
    assert {name: share for name, share in found.items() if share < lowest} == {}
    assert max(found.values()) < 0.995
    # 95 % in name only: pairs of one clip are not independent.
    assert believing < 0.85
