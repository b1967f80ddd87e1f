"""The bootstrap over units: draws, statistics of the resamples, and ends of intervals.

The units drawn here are the rows of a sample: sources, with all of their clips. Whole units are drawn, so that the
values of a unit in several cells stay together. Statistics over several cells are therefore clustered by unit, and
comparisons of two filters are paired. Units are drawn within strata. The counts of drawn units are one matrix, shared
by all statistics over the same numbers of units. A statistic that depends only on means needs its sums on every
resample. One matrix product gives the sums of many statistics at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict
from scipy import special

from vjepa_stress.statistics.numerics.arrays import Floats

Ends = Literal["expanded", "percentile", "bca"]
"""Ends of an interval: percentiles of the resamples at an expanded level (Hesterberg 2015), at the level itself, or
bias-corrected and accelerated (BCa, Efron 1987)."""

_AT_ONCE = 300_000
"""Maximum number of values per batch, so that a batch fits into the cache of the processor."""

_TIE = 1e-12
"""Resamples within this relative distance of the estimate are treated as equal to it, because of rounding."""


class Resampling(BaseModel):
    """Settings of intervals.

    Attributes:
        level: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples. All estimates over the same number of units share the resamples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0


@functools.lru_cache(maxsize=8)
def unit_counts(units: int, resamples: int, seed: int, strata: tuple[int, ...] = ()) -> Floats:
    """Number of times that each unit is drawn in each resample, (resamples, units).

    Args:
        units: number of units.
        resamples: number of resamples.
        seed: seed of the draws.
        strata: numbers of units of consecutive strata, which sum to `units`; empty for one stratum. The counts of
            each stratum sum to its number of units.
    """
    chance = np.random.Generator(np.random.PCG64(seed))
    sizes = [size for size in strata or (units,) if size]
    drawn = [counts_of(chance.integers(0, size, size=(resamples, size)), size) for size in sizes]
    counts = drawn[0] if len(drawn) == 1 else np.hstack(drawn)
    counts.setflags(write=False)
    return counts


def expanded(level: float, units: int, strata: int = 1) -> float:
    """Level of the percentile interval that corrects a small sample (Hesterberg 2015, section 4.4).

    A percentile interval is too narrow by √((n − 1)/n), and its quantiles are normal instead of Student's t. Its
    level is expanded so that both would be right for a mean of normal values.

    Args:
        level: nominal coverage.
        units: number of units.
        strata: number of strata; each loses one degree of freedom.
    """
    freedom = max(1, units - strata)
    quantile = special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(units / freedom)
    return float(2 * special.ndtr(quantile) - 1)


def counts_of(drawn: ArrayLike, units: int) -> Floats:
    """Number of times that each unit occurs in each resample.

    Args:
        drawn: (resamples, draws), indices of the drawn units.
        units: number of units.

    Returns:
        (resamples, units), read-only.
    """
    positions = np.asarray(drawn, dtype=np.int64)
    resamples = positions.shape[0]
    flat = positions + np.arange(resamples)[:, None] * units
    counts = np.bincount(flat.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)
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
        """Groups from the index of the group of each column, from 0."""
        members = np.eye(max(group, default=-1) + 1)[list(group)]
        return cls(members, members.sum(0)[:, None])

    @classmethod
    @functools.lru_cache(maxsize=256)
    def side_by_side(cls, *columns: int) -> Groups:
        """Consecutive groups with the given numbers of columns."""
        return cls.of(*(number for number, width in enumerate(columns) for _ in range(width)))


@dataclass(frozen=True)
class MeansStatistic:
    """A statistic that depends on the units only through means of groups of values.

    Attributes:
        values: (units, columns); NaN for missing values.
        groups: the columns of each mean.
        of: the statistic: means of shape (groups, rows) → (rows,); NaN if undefined.
        strata: numbers of units of consecutive strata; empty for one stratum.
    """

    values: Floats
    groups: Groups
    of: Callable[[Floats], Floats]
    strata: tuple[int, ...] = ()

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.values)

    @functools.cached_property
    def sums(self) -> Floats:
        """Sums of each unit over the groups, and, if any value is missing, the numbers of values."""
        missing, members = np.isnan(self.values), self.groups.members
        if not missing.any():
            sums: Floats = self.values @ members
            return sums
        return np.hstack([np.where(missing, 0.0, self.values) @ members, ~missing @ members])

    def on(self, sums: Floats, units: int) -> Floats:
        """The statistic, given sums over `units` units each: (k, rows) → (rows,)."""
        groups = len(self.groups.sizes)
        counts = sums[groups:] if len(sums) > groups else units * self.groups.sizes
        return self.of(sums[:groups] / counts)

    def value(self) -> float:
        """The statistic of the original sample."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.on(self.sums.sum(0)[:, None], self.units)[0])

    def leaving_one_out(self) -> Floats:
        """Jackknife: the statistic without each unit in turn, (units,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.on((self.sums.sum(0) - self.sums).T, self.units - 1)


def resample(statistics: Sequence[MeansStatistic], how: Resampling) -> Iterator[list[tuple[float, Floats]]]:
    """Each statistic on the original sample and on every resample, (resamples,), in the given order.

    Consecutive statistics over the same numbers of units share a matrix product and are returned in one list.
    """

    def resampled(batch: Sequence[MeansStatistic]) -> list[tuple[float, Floats]]:
        return resample_with(unit_counts(batch[0].units, how.resamples, how.seed, batch[0].strata), batch)

    batch, columns = list[MeansStatistic](), 0
    for statistic in statistics:
        columns += statistic.sums.shape[1]
        same = bool(batch) and (batch[0].units, batch[0].strata) == (statistic.units, statistic.strata)
        if batch and (not same or columns * how.resamples > _AT_ONCE):
            yield resampled(batch)
            batch, columns = [], statistic.sums.shape[1]
        batch.append(statistic)
    if batch:
        yield resampled(batch)


def resample_with(counts: Floats, statistics: Sequence[MeansStatistic]) -> list[tuple[float, Floats]]:
    """See `resample`; given the number of times that each unit is drawn, (resamples, units)."""
    sums = np.hstack([one.sums for one in statistics])
    drawn = np.empty((sums.shape[1], len(counts) + 1))
    drawn[:, 0] = sums.sum(0)
    np.matmul(sums.T, counts.T, out=drawn[:, 1:])
    results, first = [], 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for one in statistics:
            last = first + one.sums.shape[1]
            values = one.on(drawn[first:last], one.units)
            results.append((float(values[0]), values[1:]))
            first = last
    return results


def percentile_ends(samples: Floats, *levels: float) -> Floats:
    """Percentile intervals: (..., resamples) → (..., 2 · levels), both ends of each level; NaN if a sample is NaN."""
    return _quantiles(samples, *(share for level in levels for share in ((1 - level) / 2, (1 + level) / 2)))


def bca_ends(value: float, samples: Floats, leaving_one_out: Floats, level: float) -> Floats:
    """Ends of the bias-corrected and accelerated interval (Efron 1987); NaN if it is undefined.

    The bias correction is the normal quantile of the share of resamples below the estimate; resamples equal to the
    estimate count half. The acceleration is computed from the jackknife, and is 0 if all its values are equal.

    Args:
        value: the estimate.
        samples: (resamples,).
        leaving_one_out: (units,), the jackknife.
        level: coverage.
    """
    equal = np.abs(samples - value) <= _TIE * abs(value)
    below = (samples < value) & ~equal
    bias = special.ndtri((below.mean() + (below | equal).mean()) / 2)
    if not np.isfinite(bias):
        # The correction is infinite if all resamples are on one side of the estimate.
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
    """Quantiles with linear interpolation, equal to those of `numpy.quantile` and ten times as fast."""
    ordered = np.sort(samples, axis=-1)
    ordered[~(np.isfinite(ordered[..., 0]) & np.isfinite(ordered[..., -1]))] = np.nan  # NaN is sorted to the end
    positions = np.asarray(shares) * (samples.shape[-1] - 1)
    under = positions.astype(np.int64)
    low, high = ordered[..., under], ordered[..., np.minimum(under + 1, samples.shape[-1] - 1)]
    quantiles: Floats = low + (positions - under) * (high - low)
    return quantiles
