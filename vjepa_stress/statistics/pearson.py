"""Pearson correlation of two metrics over (unit, cell) pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.statistics.base import PAIRS_ENDS, Jackknifed, Sample
from vjepa_stress.statistics.base_correlation import Correlation
from vjepa_stress.statistics.numerics.arrays import as_table, paired, rows_by_unit
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.fisher import fisher_ci
from vjepa_stress.statistics.numerics.jackknife import estimate_of, on_fisher_scale
from vjepa_stress.statistics.numerics.moments import correlation_of_means, why_undefined
from vjepa_stress.statistics.numerics.resample import Ends, Resampling


class Pearson(Correlation):
    """Pearson correlation of two metrics over all (unit, cell) pairs of a filter.

    Its interval is a jackknife over units, on the scale of Fisher's z. The alternative `fisher` treats all pairs as
    independent, although pairs of one unit are not, and as normal.
    """

    other_ends: ClassVar[tuple[Method, ...]] = (*PAIRS_ENDS, "fisher")

    words: ClassVar[Mapping[str, str]] = {
        **Correlation.words,
        "name": "Pearson correlation",
        "of": "Pearson correlation of {x} with {y}",
        "over": "Pearson correlation of {x} with {y} over {where}",
    }

    statistic: Literal["pearson"]
    interval: Jackknifed = "jackknife"

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Compute it with a jackknife over units."""
        x, y = sample.parts
        return plan_pearson(x, y, how.level, self.interval, sample.strata)


def plan_pearson(
    x: ArrayLike,
    y: ArrayLike,
    level: float,
    interval: Jackknifed | Ends | Literal["fisher"] = "jackknife",
    strata: tuple[int, ...] = (),
) -> PendingEstimate | Estimate:
    """Compute `pearson` with a jackknife or Fisher's interval, or plan it with a bootstrap.

    Values have the shape (units, cells).
    """
    left, right = paired(as_table(x), as_table(y))
    pairs, units = int(np.isfinite(left).sum()), left.shape[0]
    n = pairs if interval == "fisher" else units
    if reason := why_undefined(left, right):
        return undefined(n, interval, Note(code=reason), pairs=pairs)
    statistic = correlation_of_means((left, right))
    r = statistic.value()
    if interval == "fisher":
        low, high = fisher_ci(r, pairs, level)
        return Estimate(value=r, low=low, high=high, n=n, method="fisher", pairs=pairs)
    if units < 2:  # all resamples of a single unit are equal, and nothing is left without it
        return undefined(n, interval, Note(code="too-few-units"), pairs=pairs)
    if interval != "jackknife":
        return PendingEstimate(statistic, interval, pairs=pairs)
    without = statistic.leaving_one_out()
    return estimate_of(r, without, on_fisher_scale(r, without, level, strata), pairs)


def pearson(
    x: ArrayLike,
    y: ArrayLike,
    how: Resampling | None = None,
    *,
    interval: Literal["fisher", "jackknife", "cluster", "expanded"] = "fisher",
    clips: ArrayLike | None = None,
) -> Estimate:
    """Pearson correlation over the (unit, cell) pairs with two values.

    Args:
        x, y: (units,) or (units, cells), of the same shape; or (pairs,) with `clips`. NaN for missing values.
        how: level, resamples and seed.
        interval: `fisher` treats pairs as independent; `jackknife` leaves out units; `cluster` and `expanded`
            resample units, with percentile or expanded ends.
        clips: (pairs,), the unit of each pair.
    """
    how, note = how or Resampling(), note_of_pairs(x, y)
    if clips is not None:
        x, y = rows_by_unit(clips, x, y)
    planned = plan_pearson(x, y, how.level, "percentile" if interval == "cluster" else interval)
    return evaluate([planned.noted(note)], how)[0]


def plan_pearson_difference(
    of: tuple[ArrayLike, ArrayLike], minus: tuple[ArrayLike, ArrayLike]
) -> PendingEstimate | Estimate:
    """Plan `pearson_difference`."""
    tables = [[as_table(part) for part in side] for side in (of, minus)]
    shapes = [part.shape for side in tables for part in side]
    if shapes[0] != shapes[1] or shapes[2] != shapes[3] or shapes[0][0] != shapes[2][0]:
        raise ValueError(f"x and y of each side need the same shape, and both sides the same units, found {shapes}")
    both = [np.isfinite(x) & np.isfinite(y) for x, y in tables]
    # A unit with pairs on one side only is resampled with the others, and contributes to that side.
    kept = np.hstack(both).any(axis=1)
    sides = [
        (np.where(defined, x, np.nan)[kept], np.where(defined, y, np.nan)[kept])
        for (x, y), defined in zip(tables, both, strict=True)
    ]
    pairs, units = sum(int(defined.sum()) for defined in both), int(kept.sum())
    for side, defined in zip(sides, both, strict=True):
        reason = why_undefined(*side) or ("too-few-units" if defined.any(axis=1).sum() < 2 else None)
        if reason:
            return undefined(units, "expanded", Note(code=reason), pairs=pairs)
    return PendingEstimate(correlation_of_means(*sides), pairs=pairs)


def pearson_difference(
    of: tuple[ArrayLike, ArrayLike], minus: tuple[ArrayLike, ArrayLike], how: Resampling | None = None
) -> Estimate:
    """Difference of two Pearson correlations over (unit, cell) pairs. Both use the same resampled units.

    Args:
        of, minus: x and y of each side, (units,) or (units, cells), with rows of the same units in the same order;
            NaN for missing values.
        how: level, resamples and seed.
    """
    return evaluate([plan_pearson_difference(of, minus)], how or Resampling())[0]
