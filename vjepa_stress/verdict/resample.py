"""One bootstrap over clips: what is drawn, what a statistic becomes on each resample, where its interval ends.

Resampling draws whole clips, so that what a clip has in several cells stays together: statistics over several
cells are clustered by clip, and comparisons of two filters are paired. How often each clip was drawn is one matrix
for all statistics over equally many clips, and a statistic that depends on the clips through means alone needs its
sums on every resample: one matrix product gives those of many statistics at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy import special

from vjepa_stress.verdict.table import Floats

Ends = Literal["percentile", "bca"]
"""How an interval ends: at percentiles of the resamples, or bias-corrected and accelerated (Efron 1987)."""

_AT_ONCE = 300_000
"""Numbers that are held at once: few enough to stay near the processor."""

_TIE = 1e-12
"""Resamples that differ from the estimate by less than this share of it differ by rounding only."""


class Resampling(BaseModel):
    """How intervals are computed.

    Attributes:
        level: coverage of the interval, between 0 and 1.
        resamples: bootstrap resamples.
        seed: seed of the one stream of resamples; all estimates over equally many clips share it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0


@functools.lru_cache(maxsize=8)
def clip_counts(clips: int, resamples: int, seed: int) -> Floats:
    """How often each clip is drawn in each resample: (resamples, clips), rows sum to `clips`."""
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, clips, size=(resamples, clips))
    return counts_of(drawn, clips)


def counts_of(drawn: ArrayLike, clips: int) -> Floats:
    """How often each clip stands in each resample.

    Args:
        drawn: (resamples, draws), positions of the clips drawn.
        clips: how many clips there are.

    Returns:
        (resamples, clips), read-only.
    """
    positions = np.asarray(drawn, dtype=np.int64)
    resamples = positions.shape[0]
    flat = positions + np.arange(resamples)[:, None] * clips
    counts = np.bincount(flat.ravel(), minlength=resamples * clips).reshape(resamples, clips).astype(np.float64)
    counts.setflags(write=False)
    return counts


@dataclass(frozen=True)
class Groups:
    """Groups of columns.

    Attributes:
        members: (columns, groups) of 0 and 1.
        sizes: (groups, 1).
    """

    members: Floats
    sizes: Floats

    @classmethod
    @functools.lru_cache(maxsize=256)
    def of(cls, *group: int) -> Groups:
        """The group that each column belongs to, numbered from 0."""
        members = np.eye(max(group, default=-1) + 1)[list(group)]
        return cls(members, members.sum(0)[:, None])

    @classmethod
    @functools.lru_cache(maxsize=256)
    def side_by_side(cls, *columns: int) -> Groups:
        """Groups of so many columns each, one after the other."""
        return cls.of(*(number for number, width in enumerate(columns) for _ in range(width)))


@dataclass(frozen=True)
class OfMeans:
    """A statistic that depends on the clips through means of groups of values, not yet computed.

    Attributes:
        values: (clips, columns); NaN where a clip has no value.
        groups: which columns each mean is taken over.
        of: the statistic, (groups, rows) means → (rows,); NaN where it has no value.
    """

    values: Floats
    groups: Groups
    of: Callable[[Floats], Floats]

    @property
    def clips(self) -> int:
        """How many clips are resampled."""
        return len(self.values)

    @functools.cached_property
    def sums(self) -> Floats:
        """For each clip the sums over its groups, then, where a value is missing, how many there are."""
        missing, members = np.isnan(self.values), self.groups.members
        if not missing.any():
            sums: Floats = self.values @ members
            return sums
        return np.hstack([np.where(missing, 0.0, self.values) @ members, ~missing @ members])

    def on(self, sums: Floats, clips: int) -> Floats:
        """The statistic of sums over `clips` clips each, (k, rows) → (rows,)."""
        groups = len(self.groups.sizes)
        counts = sums[groups:] if len(sums) > groups else clips * self.groups.sizes
        return self.of(sums[:groups] / counts)

    def value(self) -> float:
        """The statistic of the clips as they are."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.on(self.sums.sum(0)[:, None], self.clips)[0])

    def leaving_one_out(self) -> Floats:
        """The jackknife: the statistic without each clip in turn, (clips,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.on((self.sums.sum(0) - self.sums).T, self.clips - 1)


def resample(statistics: Sequence[OfMeans], how: Resampling) -> Iterator[list[tuple[float, Floats]]]:
    """Each statistic on the clips as they are, and on every resample, (resamples,), in the order given.

    Neighbours over equally many clips share a matrix product, and come in one list.
    """
    waiting, columns = list[OfMeans](), 0
    for statistic in statistics:
        columns += statistic.sums.shape[1]
        if waiting and (waiting[0].clips != statistic.clips or columns * how.resamples > _AT_ONCE):
            yield resample_with(clip_counts(waiting[0].clips, how.resamples, how.seed), waiting)
            waiting, columns = [], statistic.sums.shape[1]
        waiting.append(statistic)
    if waiting:
        yield resample_with(clip_counts(waiting[0].clips, how.resamples, how.seed), waiting)


def resample_with(counts: Floats, statistics: Sequence[OfMeans]) -> list[tuple[float, Floats]]:
    """The same, given how often each clip is drawn, (resamples, clips)."""
    sums = np.hstack([one.sums for one in statistics])
    drawn = np.empty((sums.shape[1], len(counts) + 1))
    drawn[:, 0] = sums.sum(0)
    np.matmul(sums.T, counts.T, out=drawn[:, 1:])
    answers, first = [], 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for one in statistics:
            last = first + one.sums.shape[1]
            found = one.on(drawn[first:last], one.clips)
            answers.append((float(found[0]), found[1:]))
            first = last
    return answers


def percentile_ends(samples: Floats, level: float) -> Floats:
    """Percentiles of the resamples, between which lies a share of `level`: (..., resamples) → (..., 2).

    NaN where a resample is.
    """
    return _quantiles(samples, (1 - level) / 2, (1 + level) / 2)


def bca_ends(value: float, samples: Floats, leaving_one_out: Floats, level: float) -> Floats:
    """Ends of the bias-corrected and accelerated interval (Efron 1987); NaN where it has none.

    The bias correction is the normal quantile of the share of resamples below the estimate, with those equal to it
    counted half; the acceleration comes from the jackknife, and is 0 where leaving out any clip changes nothing.

    Args:
        value: the estimate.
        samples: (resamples,).
        leaving_one_out: (clips,), the jackknife.
        level: coverage.
    """
    equal = np.abs(samples - value) <= _TIE * abs(value)
    below = (samples < value) & ~equal
    bias = special.ndtri((below.mean() + (below | equal).mean()) / 2)
    if not np.isfinite(bias):
        # With every resample on one side of the estimate there is no correction that could be believed.
        return np.full(2, np.nan)
    influence = (len(leaving_one_out) - 1) * (leaving_one_out.mean() - leaving_one_out)
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread else 0.0
    shifted = bias + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    with np.errstate(divide="ignore"):
        shares = special.ndtr(bias + shifted / (1 - acceleration * shifted))
    if not np.isfinite(shares).all():
        return np.full(2, np.nan)
    return _quantiles(samples, *shares)


def _quantiles(samples: Floats, *shares: float) -> Floats:
    """Quantiles with linear interpolation, as `numpy.quantile` has them, which takes ten times as long."""
    ordered = np.sort(samples, axis=-1)
    ordered[~(np.isfinite(ordered[..., 0]) & np.isfinite(ordered[..., -1]))] = np.nan  # NaN is sorted to the end
    places = np.asarray(shares) * (samples.shape[-1] - 1)
    under = places.astype(np.int64)
    low, high = ordered[..., under], ordered[..., np.minimum(under + 1, samples.shape[-1] - 1)]
    quantiles: Floats = low + (places - under) * (high - low)
    return quantiles


def rank_correlation(means: Floats, along: ArrayLike) -> Floats:
    """Spearman's rho of each column of means with fixed numbers, ties sharing their rank.

    A rank is half the number of others below minus those above, plus a constant that a correlation does not see:
    signs of all differences give the ranks of every column without sorting any.

    Args:
        means: (n, rows).
        along: (n,).

    Returns:
        (rows,); NaN where a column of means is constant or holds NaN.
    """
    n = len(means)
    spread_along, of_pairs, pairs = _along(tuple(np.asarray(along, dtype=np.float64).tolist()))
    rho = np.empty(means.shape[1])
    step = max(1, _AT_ONCE // len(of_pairs))
    for first in range(0, len(rho), step):
        signs = _signs(means[:, first : first + step])
        # Without ties the ranks are 1 − n, 3 − n, …, n − 1.
        spread = n * (n**2 - 1) / 3 if signs.all() else ((pairs @ signs).astype(np.float64) ** 2).sum(0)
        covariance = (of_pairs @ signs).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            rho[first : first + step] = covariance / np.sqrt(spread * spread_along)
    rho[np.isnan(means.sum(0))] = np.nan
    return rho.clip(-1, 1)


def _signs(numbers: Floats) -> NDArray[np.float32]:
    """Signs of the differences between the rows of each pair, (n, rows) → (pairs, rows)."""
    above = np.concatenate([numbers[lag:] > numbers[:-lag] for lag in range(1, len(numbers))])
    below = np.concatenate([numbers[lag:] < numbers[:-lag] for lag in range(1, len(numbers))])
    # Small whole numbers, as are all sums of them: single precision is exact.
    return (above.view(np.int8) - below.view(np.int8)).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _along(numbers: tuple[float, ...]) -> tuple[float, NDArray[np.float32], NDArray[np.float32]]:
    """Of fixed numbers the sum of squared ranks, what each pair's sign adds to a covariance with them, and pairs."""
    one = np.eye(len(numbers), dtype=np.float32)
    pairs = np.concatenate([one[lag:] - one[:-lag] for lag in range(1, len(numbers))]).T.copy()
    ranks = pairs @ _signs(np.array(numbers)[:, None])[:, 0]
    return float((ranks**2).sum()), ranks @ pairs, pairs
