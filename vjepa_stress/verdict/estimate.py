"""Estimands to numbers. Arrays in, `Estimate` out; one vectorised bootstrap over clips serves them all.

Resampling draws whole clips, so that what a clip has in several cells stays together: estimates over several
cells are clustered by clip, and comparisons of two filters are paired. Every function is deterministic, and
independent of the order of its rows as long as the caller sorts clips the same way.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from vjepa_stress.verdict.table import Floats

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Estimate(BaseModel):
    """A number with its interval.

    Attributes:
        value: the estimate, null where undefined.
        low, high: ends of the interval; both equal `value` where the statistic has no sampling interval.
        n: clips it rests on.
        method: how value and interval were computed.
        note: why it is undefined, or what was left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Finite | None
    low: Finite | None
    high: Finite | None
    n: int
    method: str
    note: str = ""

    @property
    def defined(self) -> bool:
        """Whether a rule can read it."""
        return self.value is not None and self.low is not None and self.high is not None


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
    flat = drawn + np.arange(resamples)[:, None] * clips
    counts = np.bincount(flat.ravel(), minlength=resamples * clips).reshape(resamples, clips).astype(np.float64)
    counts.setflags(write=False)
    return counts


def _estimate(value: float, samples: Floats, n: int, level: float, method: str) -> Estimate:
    """An estimate with its percentile interval; undefined when any resample is."""
    if not math.isfinite(value):
        return _undefined(n, method, "the statistic has no value on these clips")
    if not np.isfinite(samples).all():
        share = float(np.mean(~np.isfinite(samples)))
        return _undefined(n, method, f"the statistic has no value on {share:.2%} of the resamples")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value=value, low=float(low), high=float(high), n=n, method=method)


def _undefined(n: int, method: str, note: str) -> Estimate:
    return Estimate(value=None, low=None, high=None, n=n, method=method, note=note)


def _sums(values: Floats) -> tuple[Floats, Floats]:
    """For each clip the sum of its defined values and their number; (clips, cells) → (clips,) each."""
    return np.nansum(values, axis=1), np.isfinite(values).sum(axis=1).astype(np.float64)


def bootstrap_mean(values: ArrayLike, how: Resampling | None = None) -> Estimate:
    """Mean over (clip, cell) pairs, with a percentile bootstrap over clips.

    Args:
        values: (clips,) or (clips, cells); NaN where a clip has no value.
        how: level, resamples and seed.
    """
    how = how or Resampling()
    table = _columns(values)
    method = "mean; percentile bootstrap over clips"
    if table.shape[0] < 2 or not np.isfinite(table).any():
        return _undefined(table.shape[0], method, "fewer than two clips have a value")
    sums, counts = _sums(table)
    drawn = clip_counts(table.shape[0], how.resamples, how.seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = (drawn @ sums) / (drawn @ counts)
    return _estimate(float(sums.sum() / counts.sum()), samples, table.shape[0], how.level, method)


def ratio_of_means(numerator: ArrayLike, denominator: ArrayLike, how: Resampling | None = None) -> Estimate:
    """Ratio of two means on the same clips, with a paired percentile bootstrap.

    Args:
        numerator, denominator: (clips,) or (clips, cells), rows of the same clips in the same order.
        how: level, resamples and seed.
    """
    how = how or Resampling()
    above, below = _columns(numerator), _columns(denominator)
    if above.shape[0] != below.shape[0]:
        raise ValueError(f"both sides need the same clips, found {above.shape[0]} and {below.shape[0]}")
    method = "ratio of means; paired percentile bootstrap over clips"
    if above.shape[0] < 2:
        return _undefined(above.shape[0], method, "fewer than two clips have both values")
    (above_sums, above_counts), (below_sums, below_counts) = _sums(above), _sums(below)
    drawn = clip_counts(above.shape[0], how.resamples, how.seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = (drawn @ above_sums) / (drawn @ above_counts) / ((drawn @ below_sums) / (drawn @ below_counts))
        value = above_sums.sum() / above_counts.sum() / (below_sums.sum() / below_counts.sum())
    return _estimate(float(value), samples, above.shape[0], how.level, method)


def trend(values: ArrayLike, strengths: Sequence[float], how: Resampling | None = None) -> Estimate:
    """Spearman correlation of cell means with strength, with a percentile bootstrap over clips.

    Args:
        values: (clips, cells); NaN where a clip has no value.
        strengths: one a cell; cells that share a strength are pooled.
        how: level, resamples and seed.
    """
    how = how or Resampling()
    table, levels = _columns(values), np.unique(strengths)
    method = "Spearman correlation of cell means with strength; percentile bootstrap over clips"
    if len(levels) < 3 or table.shape[0] < 2:
        return _undefined(table.shape[0], method, "fewer than three strengths or two clips")
    groups = [_sums(table[:, np.asarray(strengths) == level]) for level in levels]
    sums, counts = (np.stack(part, axis=1) for part in zip(*groups, strict=True))
    drawn = clip_counts(table.shape[0], how.resamples, how.seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = _spearman(levels, (drawn @ sums) / (drawn @ counts))
        value = _spearman(levels, (sums.sum(0) / counts.sum(0))[None])[0]
    return _estimate(float(value), samples, table.shape[0], how.level, method)


def _spearman(levels: Floats, means: Floats) -> Floats:
    """Spearman's rho of each row of means (rows, levels) with the levels; NaN for a constant row."""
    ranks = stats.rankdata(means, axis=1, nan_policy="propagate") - (len(levels) + 1) / 2
    along = stats.rankdata(levels) - (len(levels) + 1) / 2
    rho: Floats = (ranks @ along) / np.sqrt((ranks**2).sum(1) * (along**2).sum())
    return rho.clip(-1, 1)


def maximum(values: ArrayLike) -> Estimate:
    """Largest absolute value over all clips and cells; it has no sampling interval.

    Args:
        values: (clips,) or (clips, cells); NaN where a clip has no value.
    """
    table = _columns(values)
    method = "largest absolute value; no sampling interval"
    if not np.isfinite(table).any():
        return _undefined(table.shape[0], method, "no clip has a value")
    value = float(np.nanmax(np.abs(table)))
    return Estimate(value=value, low=value, high=value, n=table.shape[0], method=method)


def fisher_ci(r: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Fisher-z interval of a Pearson correlation: tanh(atanh r ∓ z/√(n − 3)).

    Args:
        r: correlation in [−1, 1].
        n: number of independent pairs.
        level: coverage.

    Returns:
        The ends; (−1, 1) for n ≤ 3, (r, r) for |r| = 1.
    """
    if not -1 <= r <= 1:
        raise ValueError(f"a correlation lies in [-1, 1], found {r}")
    if abs(r) == 1:
        return r, r
    if n <= 3:
        return -1.0, 1.0
    half = stats.norm.ppf((1 + level) / 2) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _columns(values: ArrayLike) -> Floats:
    table: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    return table[:, None] if table.ndim == 1 else table
