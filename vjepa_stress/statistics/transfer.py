"""Held-out R² of predicting one metric from another at levels that are left out, with a jackknife over units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.design.base import Design
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import PAIRS_ENDS, Jackknifed, Sample, Span
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, paired
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.jackknife import estimate_of, of_share
from vjepa_stress.statistics.numerics.pairs import CONSTANT, by_group, numbered, of_columns, plan_share, standardised
from vjepa_stress.statistics.numerics.resample import Ends, Resampling


class Transfer(TwoMetrics):
    """Held-out R² of predicting y from x, when each level of the factor `leave_out` is left out in turn.

    The line y ~ a + b·x is fitted to all pairs of the other levels and predicts the pairs of the level that is left
    out. R² is 1 − Σ(y − prediction)²/Σ(y − ȳ)² over all pairs, with the mean ȳ of all pairs. It is negative if the
    predictions are worse than this mean.

    The jackknife fits all lines again without each unit. Percentile and BCa intervals, which only alternatives have,
    resample units with their held-out errors, without refitting.
    """

    other_ends: ClassVar[tuple[Method, ...]] = PAIRS_ENDS

    least_sources: ClassVar[int] = 60
    words: ClassVar[Mapping[str, str]] = {
        "name": "held-out R²",
        "of": "held-out R² of {y} predicted from {x} at each {leave_out} that is left out",
        "over": "held-out R² of {y} predicted from {x} at each {leave_out} that is left out, over {where}",
        "same-number": "{x} and {y} are equal when content does not move: R² is always 1",
    }

    statistic: Literal["transfer"]
    leave_out: Name
    interval: Jackknifed = "jackknife"

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """Held-out R² is at most 1 and has no smallest value."""
        return -np.inf, 1.0

    def check(self, design: Design, path: str) -> None:
        """Also refuse a factor that is not in the design, or has a single level in the filter.

        Raises:
            ValueError: with the path and the factor.
        """
        super().check(design, path)
        design.check_factor(self.leave_out, f"{path}: leave_out")
        if len({cell[self.leave_out] for cell in design.select(self.where)}) < 2:
            raise ValueError(f"{path}: the filter selects a single level of {self.leave_out}; none can be left out")

    def on_control(self, factor: str, control: str) -> Self | None:
        """None if the levels are levels of the control factor."""
        return None if factor == self.leave_out else super().on_control(factor, control)

    def meaning(self, design: Design) -> Hashable:
        """Also the factor, and which metric is predicted."""
        return super().meaning(design), self.y, self.leave_out

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Predict each level from the others, and compute a jackknife over units."""
        levels = [cell[self.leave_out] for cell in sample.cells]
        x, y = sample.parts
        return plan_transfer(x, y, levels, how.level, self.interval, sample.strata)


def plan_transfer(
    x: ArrayLike,
    y: ArrayLike,
    levels: Sequence[Hashable],
    level: float,
    interval: Jackknifed | Ends = "jackknife",
    strata: tuple[int, ...] = (),
) -> PendingEstimate | Estimate:
    """Compute `transfer` with a jackknife, or plan it with a bootstrap."""
    left, right = paired(as_table(x), as_table(y))
    defined = np.isfinite(left)
    observed = defined.any(0)
    left, right, defined = left[:, observed], right[:, observed], defined[:, observed]
    group = numbered([levels[column] for column in np.flatnonzero(observed).tolist()])
    units, pairs = left.shape[0], int(defined.sum())
    if units < 2:
        return undefined(units, interval, Note(code="too-few-units"), pairs=pairs)
    if group.max() < 1:
        return undefined(units, interval, Note(code="too-few-groups"), pairs=pairs)
    constant = undefined(units, interval, Note(code="constant"), pairs=pairs)
    if any(np.ptp(part[defined]) == 0 for part in (left, right)):
        return constant
    left, right = standardised(left), standardised(right)
    parts = (defined.astype(np.float64), left, right, left**2, left * right, right**2)
    sums = np.hstack([by_group(part, group) for part in parts])
    intercept, slope = _lines(sums.sum(0).reshape(len(parts), -1, 1))[..., 0]
    if not np.isfinite(slope).all():
        return constant
    if interval != "jackknife":
        errors = right - intercept[group] - slope[group] * left
        return plan_share(errors**2, right, lambda share: 1 - share, interval, pairs)
    statistic = of_columns(sums, _held_out)
    value, without = statistic.value(), statistic.leaving_one_out()
    return estimate_of(value, without, of_share(value, without, level, strata), pairs)


def _lines(sums: Floats) -> Floats:
    """Intercept and slope of the line that is fitted to all other levels, for each level.

    Args:
        sums: (6, levels, rows), sums or means over units of 1, x, y, x², xy and y² in each level.

    Returns:
        (2, levels, rows); NaN if x is constant in the other levels.
    """
    n, x, y, squares, products, _ = sums.sum(1, keepdims=True) - sums
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squares - x**2 / n
        slope = (products - x * y / n) / np.where(variance > CONSTANT * squares, variance, np.nan)
        lines: Floats = np.stack([(y - slope * x) / n, slope])
        return lines


def _held_out(means: Floats) -> Floats:
    """R² of the lines, from means over units: (6 · levels, rows), see `_lines` → (rows,)."""
    sums = means.reshape(6, -1, means.shape[1])
    n, x, y, xx, xy, yy = sums
    a, b = _lines(sums)
    errors = yy - 2 * a * y - 2 * b * xy + a**2 * n + 2 * a * b * x + b**2 * xx
    total = yy.sum(0) - y.sum(0) ** 2 / n.sum(0)
    share: Floats = np.minimum(1 - errors.sum(0) / total, 1.0)
    return share


def transfer(
    x: ArrayLike,
    y: ArrayLike,
    levels: Sequence[Hashable],
    how: Resampling | None = None,
    *,
    interval: Jackknifed | Ends = "jackknife",
) -> Estimate:
    """Held-out R² of predicting y from x at each level that is left out; see `Transfer`.

    Args:
        x, y: (units, columns), of the same shape; NaN for missing values.
        levels: the level of each column.
        how: level, resamples and seed.
        interval: jackknife over units, or the ends of a bootstrap over units.
    """
    how, note = how or Resampling(), note_of_pairs(x, y)
    return evaluate([plan_transfer(x, y, levels, how.level, interval).noted(note)], how)[0]
