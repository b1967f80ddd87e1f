"""Estimands to numbers: numpy arrays in, `Estimate` out.

Every function is deterministic and, as long as the caller sorts clips the same way, independent of the order of its
rows; those that take a clip's name for each value sort by it themselves. NaN stands for a value that is missing.
What `ask_…` returns may be answered together with others, which costs less than one by one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from vjepa_stress.verdict.answer import NAMES, Asked, Estimate, Step, answer, undefined
from vjepa_stress.verdict.resample import (
    Ends,
    Groups,
    OfMeans,
    Resampling,
    clip_counts,
    percentile_ends,
    rank_correlation,
)
from vjepa_stress.verdict.table import Floats

__all__ = [
    "Estimate",
    "Resampling",
    "Step",
    "bootstrap_mean",
    "clip_counts",
    "cluster_bootstrap",
    "difference",
    "fisher_ci",
    "jumps",
    "maximum",
    "pearson",
    "pearson_difference",
    "ratio_of_means",
    "spearman",
    "trend",
]

_CONSTANT = 1e-12
"""A variance below this share of the mean square about a fixed point is rounding."""

_ONE_CLIP = "fewer than two clips have pairs"

_AT_ONCE = 2_000_000
"""Numbers that a resampled rank correlation holds at once."""


def ask_mean(values: ArrayLike, ends: Ends = "percentile") -> Asked | Estimate:
    """See `bootstrap_mean`."""
    table, method = _columns(values), "mean; {} over clips"
    if table.shape[0] < 2 or not np.isfinite(table).any():
        return undefined(table.shape[0], method.format(NAMES[ends]), "fewer than two clips have a value")
    return Asked(OfMeans(table, Groups.side_by_side(table.shape[1]), lambda means: means[0]), method, ends)


def bootstrap_mean(values: ArrayLike, how: Resampling | None = None, *, interval: Ends = "percentile") -> Estimate:
    """Mean over (clip, cell) pairs, with a bootstrap over clips.

    Args:
        values: (clips,) or (clips, cells).
        how: level, resamples and seed.
        interval: how it ends.
    """
    return answer([ask_mean(values, interval)], how or Resampling())[0]


def cluster_bootstrap(
    values: ArrayLike,
    clips: ArrayLike,
    how: Resampling | None = None,
    *,
    weighting: Literal["row", "clip"] = "row",
    interval: Ends = "percentile",
) -> Estimate:
    """Mean of rows that belong to clips: whole clips are drawn, and all rows of a drawn clip are kept.

    Args:
        values: (rows,), in any order.
        clips: (rows,), which clip each row belongs to.
        how: level, resamples and seed.
        weighting: whether every row counts the same, or every clip (the mean of clip means).
        interval: how it ends.
    """
    (table,) = _by_clip(clips, values)
    if weighting == "clip":
        table = _clip_means(table)
    return bootstrap_mean(table[np.isfinite(table).any(axis=1)] if table.size else table, how, interval=interval)


def ask_ratio(numerator: ArrayLike, denominator: ArrayLike, ends: Ends = "percentile") -> Asked | Estimate:
    """See `ratio_of_means`."""
    return _compare(
        numerator, denominator, lambda means: means[0] / means[1], "ratio of means; paired {} over clips", ends
    )


def ratio_of_means(
    numerator: ArrayLike,
    denominator: ArrayLike,
    how: Resampling | None = None,
    *,
    interval: Ends = "percentile",
) -> Estimate:
    """Ratio of two means on the same clips, with a paired bootstrap.

    Args:
        numerator, denominator: (clips,) or (clips, cells), rows of the same clips in the same order.
        how: level, resamples and seed.
        interval: how it ends.
    """
    return answer([ask_ratio(numerator, denominator, interval)], how or Resampling())[0]


def ask_difference(of: ArrayLike, minus: ArrayLike, ends: Ends = "percentile") -> Asked | Estimate:
    """See `difference`."""
    return _compare(of, minus, lambda means: means[0] - means[1], "difference of means; paired {} over clips", ends)


def difference(
    of: ArrayLike, minus: ArrayLike, how: Resampling | None = None, *, interval: Ends = "percentile"
) -> Estimate:
    """Difference of two means on the same clips, with a paired bootstrap.

    Args:
        of, minus: (clips,) or (clips, cells), rows of the same clips in the same order.
        how: level, resamples and seed.
        interval: how it ends.
    """
    return answer([ask_difference(of, minus, interval)], how or Resampling())[0]


def _compare(
    one: ArrayLike, other: ArrayLike, of: Callable[[Floats], Floats], method: str, ends: Ends
) -> Asked | Estimate:
    first, second = _columns(one), _columns(other)
    if first.shape[0] != second.shape[0]:
        raise ValueError(f"both sides need the same clips, found {first.shape[0]} and {second.shape[0]}")
    if first.shape[0] < 2:
        return undefined(first.shape[0], method.format(NAMES[ends]), "fewer than two clips have both values")
    sides = Groups.side_by_side(first.shape[1], second.shape[1])
    return Asked(OfMeans(np.hstack([first, second]), sides, of), method, ends)


def ask_trend(values: ArrayLike, strengths: Sequence[float], ends: Ends = "percentile") -> Asked | Estimate:
    """See `trend`."""
    table, method = _columns(values), "Spearman correlation of cell means with strength; {} over clips"
    levels, of_strength = _levels(tuple(strengths))
    if len(levels) < 3 or table.shape[0] < 2:
        return undefined(table.shape[0], method.format(NAMES[ends]), "fewer than three strengths or two clips")
    return Asked(OfMeans(table, of_strength, lambda means: rank_correlation(means, levels)), method, ends)


@functools.lru_cache(maxsize=64)
def _levels(strengths: tuple[float, ...]) -> tuple[Floats, Groups]:
    """The different strengths, and which cells have each."""
    levels, level = np.unique(np.asarray(strengths, dtype=np.float64), return_inverse=True)
    return levels, Groups.of(*level.tolist())


def trend(
    values: ArrayLike,
    strengths: Sequence[float],
    how: Resampling | None = None,
    *,
    interval: Ends = "percentile",
) -> Estimate:
    """Spearman correlation of cell means with strength, with a bootstrap over clips.

    Args:
        values: (clips, cells).
        strengths: one a cell; cells that share a strength are pooled.
        how: level, resamples and seed.
        interval: how it ends.
    """
    return answer([ask_trend(values, strengths, interval)], how or Resampling())[0]


def ask_pearson(
    x: ArrayLike, y: ArrayLike, level: float, interval: Literal["fisher", "cluster"] = "fisher"
) -> Asked | Estimate:
    """See `pearson`; tables only."""
    left, right = _pairs(_columns(x), _columns(y))
    pairs = int(np.isfinite(left).sum())
    method = f"Pearson correlation of {pairs} pairs from {left.shape[0]} clips"
    if reason := _no_correlation(left, right):
        return undefined(pairs, method, reason)
    if interval == "cluster":
        if left.shape[0] < 2:
            return undefined(left.shape[0], method, _ONE_CLIP)  # the same clip drawn again and again never varies
        return Asked(_moments((left, right)), f"{method}; {{}} over clips", "percentile")
    r = _moments((left, right)).value()
    low, high = fisher_ci(r, pairs, level)
    method = f"{method}; Fisher-z interval, pairs taken for independent"
    return Estimate(value=r, low=low, high=high, n=pairs, method=method)


def _no_correlation(left: Floats, right: Floats) -> str:
    """Why pairs have no correlation; empty where they have one."""
    defined = np.isfinite(left)
    if int(defined.sum()) < 3:
        return "fewer than three pairs"
    if np.ptp(left[defined]) == 0 or np.ptp(right[defined]) == 0:
        return "a correlation with a constant is undefined"
    return ""


def _moments(*sides: tuple[Floats, Floats]) -> OfMeans:
    """Pearson's r of pairs, NaN where there is none, as a statistic of their means; or one r less another's."""
    columns, widths = [], []
    for pair in sides:
        defined = np.isfinite(pair[0])
        # Centred and scaled first: moments of what lies far from 0 would lose digits.
        x, y = ((part - part[defined].mean()) / part[defined].std() for part in pair)
        columns += [x, y, x**2, y**2, x * y]
        widths += [x.shape[1]] * 5
    of = _correlation if len(sides) == 1 else _gap
    return OfMeans(np.hstack(columns), Groups.side_by_side(*widths), of)


def _gap(means: Floats) -> Floats:
    """One correlation less another, from the moments of both."""
    return _correlation(means[:5]) - _correlation(means[5:])


def _correlation(means: Floats) -> Floats:
    """Pearson's r from means of x, y, x², y² and xy; NaN where a side is constant."""
    x, y, xx, yy, xy = means
    x_variance, y_variance = xx - x**2, yy - y**2
    constant = (x_variance <= _CONSTANT * xx) | (y_variance <= _CONSTANT * yy)
    r: Floats = np.where(constant, np.nan, (xy - x * y) / np.sqrt(x_variance * y_variance))
    return r.clip(-1, 1)


def pearson(
    x: ArrayLike,
    y: ArrayLike,
    how: Resampling | None = None,
    *,
    interval: Literal["fisher", "cluster"] = "fisher",
    clips: ArrayLike | None = None,
) -> Estimate:
    """Pearson correlation over (clip, cell) pairs; a pair counts where both values are there.

    Args:
        x, y: (clips,) or (clips, cells), alike; or (pairs,) with `clips`.
        how: level, resamples and seed.
        interval: `fisher` takes pairs for independent; `cluster` is the percentile bootstrap over clips.
        clips: (pairs,), which clip each pair belongs to.
    """
    how = how or Resampling()
    if clips is not None:
        x, y = _by_clip(clips, x, y)
    return answer([ask_pearson(x, y, how.level, interval)], how)[0]


def ask_pearson_difference(of: tuple[ArrayLike, ArrayLike], minus: tuple[ArrayLike, ArrayLike]) -> Asked | Estimate:
    """See `pearson_difference`."""
    tables = [[_columns(part) for part in side] for side in (of, minus)]
    shapes = [part.shape for side in tables for part in side]
    if shapes[0] != shapes[1] or shapes[2] != shapes[3] or shapes[0][0] != shapes[2][0]:
        raise ValueError(f"correlations of the same clips need pairs, found {shapes}")
    both = [np.isfinite(x) & np.isfinite(y) for x, y in tables]
    # A clip that only one side has pairs of is drawn with the others, and adds to that side alone.
    seen = np.hstack(both).any(axis=1)
    found = [
        (np.where(defined, x, np.nan)[seen], np.where(defined, y, np.nan)[seen])
        for (x, y), defined in zip(tables, both, strict=True)
    ]
    counts = " and ".join(str(int(defined.sum())) for defined in both)
    clips = int(seen.sum())
    method = f"difference of the Pearson correlations of {counts} pairs from {clips} clips; paired {{}} over clips"
    reasons = [
        _no_correlation(*side) or ("" if defined.any(axis=1).sum() > 1 else _ONE_CLIP)
        for side, defined in zip(found, both, strict=True)
    ]
    if reason := next(filter(None, reasons), ""):
        return undefined(clips, method.format(NAMES["percentile"]), reason)
    return Asked(_moments(*found), method, "percentile")


def pearson_difference(
    of: tuple[ArrayLike, ArrayLike], minus: tuple[ArrayLike, ArrayLike], how: Resampling | None = None
) -> Estimate:
    """Difference of two Pearson correlations over (clip, cell) pairs; both are computed on the same resampled clips.

    Args:
        of, minus: x and y of each, (clips,) or (clips, cells), rows of the same clips in the same order; NaN where
            a clip has no pair.
        how: level, resamples and seed.
    """
    return answer([ask_pearson_difference(of, minus)], how or Resampling())[0]


def spearman(
    x: ArrayLike, y: ArrayLike, how: Resampling | None = None, *, clips: ArrayLike | None = None
) -> Estimate:
    """Spearman correlation over (clip, cell) pairs, ties sharing their rank; percentile bootstrap over clips.

    Args:
        x, y: (clips,) or (clips, cells), alike; or (pairs,) with `clips`.
        how: level, resamples and seed.
        clips: (pairs,), which clip each pair belongs to.
    """
    how = how or Resampling()
    if clips is not None:
        x, y = _by_clip(clips, x, y)
    left, right = _pairs(_columns(x), _columns(y))
    clip, cell = np.nonzero(np.isfinite(left))
    method = f"Spearman correlation of {len(clip)} pairs from {left.shape[0]} clips; percentile bootstrap over clips"
    if len(clip) < 3 or left.shape[0] < 2:
        return undefined(left.shape[0], method, "fewer than three pairs or two clips")
    sides = [np.unique(side[clip, cell], return_inverse=True)[1] for side in (left, right)]
    drawn = clip_counts(left.shape[0], how.resamples, how.seed)
    step = max(1, _AT_ONCE // len(clip))
    samples = np.concatenate(
        [_weighted_spearman(drawn[at : at + step][:, clip], *sides) for at in range(0, len(drawn), step)]
    )
    value = float(_weighted_spearman(np.ones((1, len(clip))), *sides)[0])
    if not math.isfinite(value):
        return undefined(left.shape[0], method, "a correlation with a constant is undefined")
    if not np.isfinite(samples).all():
        return undefined(left.shape[0], method, "the statistic has no value on some resamples")
    low, high = percentile_ends(samples, how.level).tolist()
    return Estimate(value=value, low=low, high=high, n=left.shape[0], method=method)


def _weighted_spearman(weights: Floats, x: NDArray[np.int64], y: NDArray[np.int64]) -> Floats:
    """Spearman's rho of pairs that each stand `weights` times, (rows, pairs), x and y numbered by size."""
    centred = []
    for side in (x, y):
        ordered = np.argsort(side, kind="stable")
        starts = np.flatnonzero(np.diff(side[ordered], prepend=-1))
        tied = np.add.reduceat(weights[:, ordered], starts, axis=1)
        # The mean rank of equal values, less the mean of all ranks.
        ranks = tied.cumsum(axis=1) - tied / 2 - weights.sum(axis=1, keepdims=True) / 2
        centred.append(ranks[:, side])
    left, right = centred
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((weights * left**2).sum(1) * (weights * right**2).sum(1))
        rho: Floats = (weights * left * right).sum(1) / spread
    return rho.clip(-1, 1)


def jumps(models: Sequence[ArrayLike], how: Resampling | None = None) -> Estimate:
    """What a metric gains from each model to the next, averaged over cells a clip first; Student's t half-widths.

    Args:
        models: for each model in order (clips,) or (clips, cells), rows of the same clips in the same order.
        how: only its level is used.

    Returns:
        The last model against the first, with the pooled half-width either side; `steps` are the jumps between.
    """
    level = (how or Resampling()).level
    method = "last model minus first, a clip averaged over cells first; Student's t half-widths pooled √(h₁² + h₂²)"
    clips = np.hstack([_clip_means(_columns(values)) for values in models])
    n = int(np.isfinite(clips).any(axis=1).sum())
    if clips.shape[1] < 2 or np.isfinite(clips).sum(axis=0).min() < 2:
        return undefined(n, method, "fewer than two models, or than two clips of a model")
    means, halves, _ = _student(clips, level)
    firsts, lasts = [*range(clips.shape[1] - 1), 0], [*range(1, clips.shape[1]), -1]
    middles, pairs, shared = _student(clips[:, lasts] - clips[:, firsts], level)
    steps = [
        Step(
            value=means[last] - means[first],
            half_width=math.hypot(halves[first], halves[last]),
            low=middles[at] - pairs[at] if shared[at] > 1 else None,
            high=middles[at] + pairs[at] if shared[at] > 1 else None,
            n=shared[at],
        )
        for at, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    ]
    overall = steps.pop()
    low, high = overall.value - overall.half_width, overall.value + overall.half_width
    return Estimate(value=overall.value, low=low, high=high, n=n, method=method, steps=tuple(steps), overall=overall)


def _student(values: Floats, level: float) -> tuple[list[float], list[float], list[int]]:
    """Of each column the mean, the half-width of its Student's t interval, and how many values it has."""
    n, mean = _seen_and_mean(values, 0)
    off = values - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(np.isnan(off), 0.0, off * off).sum(0)
        quantiles = [_student_quantile(int(one) - 1, (1 + level) / 2) for one in n]
        half = quantiles * np.sqrt(squares / (n - 1) / n)
    return mean.tolist(), half.tolist(), n.tolist()


@functools.lru_cache(maxsize=256)
def _student_quantile(freedom: int, share: float) -> float:
    return float(special.stdtrit(freedom, share))


def maximum(values: ArrayLike) -> Estimate:
    """Largest absolute value over all clips and cells; it has no sampling interval.

    Args:
        values: (clips,) or (clips, cells).
    """
    table = _columns(values)
    method = "largest absolute value; no sampling interval"
    if not np.isfinite(table).any():
        return undefined(table.shape[0], method, "no clip has a value")
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


def _clip_means(table: Floats) -> Floats:
    """Mean of each clip over the cells where it has a value, (clips, 1); NaN where it has none."""
    return _seen_and_mean(table, 1)[1][:, None]


def _seen_and_mean(table: Floats, axis: int) -> tuple[NDArray[np.int64], Floats]:
    """How many values there are along an axis, and their mean."""
    missing = np.isnan(table)
    with np.errstate(divide="ignore", invalid="ignore"):
        if not missing.any():
            n = np.full(table.shape[1 - axis], table.shape[axis])
            return n, table.sum(axis) / n
        n = (~missing).sum(axis)
        return n, np.where(missing, 0.0, table).sum(axis) / n


def _pairs(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Both sides where both have a value, NaN elsewhere; without the clips that have no pair."""
    if x.shape != y.shape:
        raise ValueError(f"a correlation needs pairs, found {x.shape} and {y.shape}")
    both = np.isfinite(x) & np.isfinite(y)
    seen = both.any(axis=1)
    return np.where(both, x, np.nan)[seen], np.where(both, y, np.nan)[seen]


def _by_clip(clips: ArrayLike, *rows: ArrayLike) -> tuple[Floats, ...]:
    """Rows in any order to tables (clips, most rows of a clip), NaN beyond a clip's last row."""
    columns = [np.asarray(row, dtype=np.float64) for row in rows]
    names, clip = np.unique(np.asarray(clips), return_inverse=True)
    if any(column.shape != clip.shape for column in columns):
        raise ValueError(f"each row belongs to one clip, found {[c.shape for c in columns]} and {clip.shape}")
    order = np.lexsort((*columns, clip))
    sizes = np.bincount(clip, minlength=len(names))
    place = np.arange(len(clip)) - np.repeat(sizes.cumsum() - sizes, sizes)
    tables = []
    for column in columns:
        table = np.full((len(names), sizes.max(initial=0)), np.nan)
        table[clip[order], place] = column[order]
        tables.append(table)
    return tuple(tables)
