"""Gain in held-out R² when a metric is added to the means of groups of cells, with a jackknife over units."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from vjepa_stress.design.base import Design
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import PAIRS_ENDS, Jackknifed, Sample, Span
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, paired
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.jackknife import Interval, Jackknife, estimate_of, fisher_z
from vjepa_stress.statistics.numerics.pairs import (
    CONSTANT,
    by_group,
    centred,
    is_constant,
    numbered,
    of_columns,
    plan_share,
    standardised,
)
from vjepa_stress.statistics.numerics.resample import Ends, MeansStatistic, Resampling
from vjepa_stress.statistics.numerics.within import within_columns, within_correlation


class Incremental(TwoMetrics):
    """Gain in held-out R² of predicting y when x is added to one mean of y per group of cells.

    The factors `beyond` define the groups: cells with the same levels of these factors share a group. Both models,
    y ~ group and y ~ group + x, are fitted without one unit and predict it, for each unit in turn. The gain is the
    difference of their R², with the same total sum of squares. On average it is negative if x adds nothing. It does
    not depend on the sign of the association. A group that only one unit has cannot be predicted and is left out.

    The gain is the square of a semipartial correlation: that of y with the part of x that the groups do not predict.
    Its jackknife, on the scale of Fisher's z, refits both models without each unit, and gives the interval. Since the
    sign is not known, small gains are exceeded by chance at both ends of r; the lower end is therefore computed from
    the gain that was held out, if that is smaller. Percentile and BCa intervals, which only alternatives have,
    resample units with their held-out errors, without refitting.
    """

    other_ends: ClassVar[tuple[Method, ...]] = PAIRS_ENDS

    least_sources: ClassVar[int] = 60
    words: ClassVar[Mapping[str, str]] = {
        "name": "gain in held-out R²",
        "of": "gain in held-out R² of {y} when {x} is added to means by {beyond}",
        "over": "gain in held-out R² of {y} when {x} is added to means by {beyond}, over {where}",
        "same-number": "{x} and {y} are equal when content does not move: {x} always predicts {y} without error",
    }

    statistic: Literal["incremental"]
    beyond: tuple[Name, ...] = Field(min_length=1)
    interval: Jackknifed = "jackknife"

    @model_validator(mode="after")
    def _factors_are_unique(self) -> Self:
        if len(set(self.beyond)) < len(self.beyond):
            raise ValueError(f"beyond: duplicate factors: {', '.join(self.beyond)}")
        return self

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """Held-out R² has no smallest value, so the difference of two has no bounds."""
        return -np.inf, np.inf

    def check(self, design: Design, path: str) -> None:
        """Also refuse factors that are not in the design.

        Raises:
            ValueError: with the path and the factors of the design.
        """
        super().check(design, path)
        for factor in self.beyond:
            design.check_factor(factor, f"{path}: beyond")

    def meaning(self, design: Design) -> Hashable:
        """Also the factors, and which metric is predicted."""
        return super().meaning(design), self.y, frozenset(self.beyond)

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Fit both models without each unit, and compute a jackknife over units."""
        groups = [tuple(cell[factor] for factor in self.beyond) for cell in sample.cells]
        x, y = sample.parts
        return plan_incremental(x, y, groups, how.level, self.interval, sample.strata)


def plan_incremental(
    x: ArrayLike,
    y: ArrayLike,
    groups: Sequence[Hashable],
    level: float,
    interval: Jackknifed | Ends = "jackknife",
    strata: tuple[int, ...] = (),
) -> PendingEstimate | Estimate:
    """Compute `incremental` with a jackknife, or plan it with a bootstrap."""
    left, right = paired(as_table(x), as_table(y))
    group = numbered(groups)
    predictable = (by_group(np.isfinite(left).astype(np.float64), group) > 0).sum(0) > 1
    left, right = (np.where(predictable[group], part, np.nan) for part in (left, right))
    units, pairs = left.shape[0], int(np.isfinite(left).sum())
    if pairs == 0:  # no group has pairs of two units
        return undefined(units, interval, Note(code="too-few-units"), pairs=pairs)
    constant = undefined(units, interval, Note(code="constant"), pairs=pairs)
    x_within = centred(left, group)
    if is_constant(x_within, left) or np.ptp(right[np.isfinite(right)]) == 0:
        return constant
    right = standardised(right)
    y_within = centred(right, group)
    # Sums of all other units, for each unit and group. Values are centred, so that the differences keep their digits.
    own = [by_group(part, group) for part in (np.isfinite(right).astype(np.float64), x_within, y_within)]
    n, x_sum, y_sum = (part.sum(0) - part for part in own)
    n = np.maximum(n, 1)  # groups without pairs contribute 0
    own = [by_group(part, group) for part in (x_within**2, x_within * y_within)]
    squares, products = ((part.sum(0) - part).sum(1) for part in own)
    x_variance = squares - (x_sum**2 / n).sum(1)
    if (x_variance <= CONSTANT * np.nansum(x_within**2)).any():
        return constant
    slope = (products - (x_sum * y_sum / n).sum(1)) / x_variance
    without = y_within - (y_sum / n)[:, group]
    added = without - slope[:, None] * (x_within - (x_sum / n)[:, group])
    saved = without**2 - added**2
    if interval != "jackknife":
        return plan_share(saved, right, lambda share: share, interval, pairs)
    gain = float(np.nansum(saved) / np.nansum(right**2))
    semipartial = _semipartial(x_within, y_within, right, group)
    z = abs(float(fisher_z(np.array(semipartial.value()))))
    without_each = semipartial.leaving_one_out()
    half = Jackknife.of(fisher_z(without_each), strata).half_width(level)
    low, high = _signed_square(min(z, _signed_root(gain)) - half), _signed_square(z + half)
    return estimate_of(gain, without_each, Interval(min(low, gain), max(high, gain)), pairs)


def _semipartial(x: Floats, y: Floats, whole: Floats, group: NDArray[np.int64]) -> MeansStatistic:
    """The semipartial correlation of y with x beyond the groups, whose square is the gain in R² without holding out.

    Args:
        x, y: (units, columns), centred in their groups; NaN where there is no pair.
        whole: y with mean 0, in the same units as y.
        group: (columns,), the group of each column.
    """
    within, shared = within_columns(x / np.sqrt(np.nanmean(x**2)), y, group)
    total = [np.nansum(part, axis=1) for part in (whole, whole**2, np.isfinite(whole).astype(np.float64))]

    def of(means: Floats) -> Floats:
        r, squares = within_correlation(means[:-3], shared)
        y_sum, y_squares, n = means[-3:]
        semipartial: Floats = r * np.sqrt(squares / (y_squares - y_sum**2 / n))
        return semipartial

    return of_columns(np.column_stack([within, *total]), of)


def _signed_root(gain: float) -> float:
    """Fisher's z of the semipartial correlation with this square; negative for a negative gain."""
    return math.copysign(float(fisher_z(np.array(math.sqrt(min(abs(gain), 1))))), gain)


def _signed_square(z: float) -> float:
    """The inverse."""
    return math.copysign(math.tanh(z) ** 2, z)


def incremental(
    x: ArrayLike,
    y: ArrayLike,
    groups: Sequence[Hashable],
    how: Resampling | None = None,
    *,
    interval: Jackknifed | Ends = "jackknife",
) -> Estimate:
    """Gain in held-out R² of predicting y when x is added to the means of groups; see `Incremental`.

    Args:
        x, y: (units, columns), of the same shape; NaN for missing values.
        groups: the group of each column.
        how: level, resamples and seed.
        interval: jackknife over units, or the ends of a bootstrap over units.
    """
    how, note = how or Resampling(), note_of_pairs(x, y)
    return evaluate([plan_incremental(x, y, groups, how.level, interval).noted(note)], how)[0]
