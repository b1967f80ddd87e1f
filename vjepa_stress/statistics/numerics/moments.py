"""Pearson's correlation as a function of means, so that all resamples need only one matrix product."""

from __future__ import annotations

import numpy as np

from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import NoteCode
from vjepa_stress.statistics.numerics.pairs import correlation, standardised
from vjepa_stress.statistics.numerics.resample import Groups, MeansStatistic


def why_undefined(left: Floats, right: Floats) -> NoteCode | None:
    """The reason why the correlation of pairs is undefined; None if it is defined."""
    defined = np.isfinite(left)
    if int(defined.sum()) < 3:
        return "too-few-pairs"
    if np.ptp(left[defined]) == 0 or np.ptp(right[defined]) == 0:
        return "constant"
    return None


def correlation_of_means(*sides: tuple[Floats, Floats]) -> MeansStatistic:
    """Pearson's r as a statistic of means; for two sides, the first r minus the second.

    Args:
        sides: one or two pairs of x and y, (units, cells) each; NaN where there is no pair.
    """
    columns, widths = [], []
    for pair in sides:
        x, y = (standardised(part) for part in pair)
        columns += [x, y, x**2, y**2, x * y]
        widths += [x.shape[1]] * 5
    of = _correlation if len(sides) == 1 else _difference
    return MeansStatistic(np.hstack(columns), Groups.side_by_side(*widths), of)


def _difference(means: Floats) -> Floats:
    """Difference of two correlations, from the moments of both."""
    return _correlation(means[:5]) - _correlation(means[5:])


def _correlation(means: Floats) -> Floats:
    """Pearson's r from the means of x, y, x², y² and xy; NaN if x or y is constant."""
    x, y, xx, yy, xy = means
    return correlation(xy - x * y, (xx - x**2, yy - y**2), (xx, yy))
