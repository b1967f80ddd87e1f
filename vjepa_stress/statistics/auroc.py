"""Area under the ROC curve of one metric for failures defined by another, with a jackknife over units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vjepa_stress.design.base import Design
from vjepa_stress.fields import Finite
from vjepa_stress.statistics.base import Jackknifed, Sample, Span
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.numerics.arrays import Floats, as_table, paired
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, undefined
from vjepa_stress.statistics.numerics.jackknife import estimate_of, on_logit_scale
from vjepa_stress.statistics.numerics.resample import Resampling


class Auroc(TwoMetrics):
    """Probability that x is larger for a failure than for another pair; ties count half. Jackknife over units.

    A pair is a failure if y is at least `failure_at`. All cells are pooled, so that the association of x with
    failures includes differences between cells. The interval is on the logit scale.
    """

    least_sources: ClassVar[int] = 60
    words: ClassVar[Mapping[str, str]] = {
        "name": "area under the ROC curve",
        "of": "area under the ROC curve of {x} for failures, {y} ≥ {failure_at}",
        "over": "area under the ROC curve of {x} for failures, {y} ≥ {failure_at}, over {where}",
        "same-number": "{x} and {y} are equal when content does not move: the area is always 1",
    }

    statistic: Literal["auroc"]
    failure_at: Finite
    interval: Jackknifed = "jackknife"

    def value_range(self, spans: Sequence[Span]) -> Span:  # noqa: ARG002
        """The range of a probability."""
        return 0.0, 1.0

    def check(self, design: Design, path: str) -> None:
        """Also refuse a limit at which all pairs are failures, or none.

        Raises:
            ValueError: with the path, the limit and the range of y.
        """
        super().check(design, path)
        low, high = design.columns[self.y].range
        if not low < self.failure_at <= high:
            raise ValueError(
                f"{path}: failure_at must be above {low:g} and at most {high:g}, the range of {self.y}; found "
                f"{self.failure_at:g}"
            )

    def meaning(self, design: Design) -> Hashable:
        """Also the limit, and which metric defines failures."""
        return super().meaning(design), self.y, self.failure_at

    def plan(self, sample: Sample, how: Resampling) -> Estimate:
        """Compute it with a jackknife over units."""
        x, y = sample.parts
        return _auroc(x, y, self.failure_at, how.level, sample.strata)


def auroc(x: ArrayLike, y: ArrayLike, failure_at: float, how: Resampling | None = None) -> Estimate:
    """Area under the ROC curve of x for failures, with a jackknife over units.

    Args:
        x, y: (units,) or (units, cells), of the same shape; NaN for missing values.
        failure_at: smallest y of a failure.
        how: level; nothing is resampled.
    """
    return _auroc(x, y, failure_at, (how or Resampling()).level).noted(note_of_pairs(x, y))


def _auroc(x: ArrayLike, y: ArrayLike, failure_at: float, level: float, strata: tuple[int, ...] = ()) -> Estimate:
    left, right = paired(as_table(x), as_table(y))
    unit, cell = np.nonzero(np.isfinite(left))
    units, pairs = left.shape[0], len(unit)
    if units < 2:
        return undefined(units, "jackknife", Note(code="too-few-units"), pairs=pairs)
    failed = right[unit, cell] >= failure_at
    if failed.all() or not failed.any():
        return undefined(units, "jackknife", Note(code="one-class"), pairs=pairs)
    ordered = _ordered(left[unit, cell], failed, unit, units)
    failures, others = (np.bincount(unit[of], minlength=units).astype(np.float64) for of in (failed, ~failed))
    value = float(ordered.sum() / (failures.sum() * others.sum()))
    # Without a unit, the row of its failures and the column of its other pairs are missing.
    rest = ordered.sum() - ordered.sum(1) - ordered.sum(0) + ordered.diagonal()
    with np.errstate(divide="ignore", invalid="ignore"):
        without = rest / ((failures.sum() - failures) * (others.sum() - others))
    return estimate_of(value, without, on_logit_scale(value, without, level, strata), pairs)


def _ordered(x: Floats, failed: NDArray[np.bool_], unit: NDArray[np.int64], units: int) -> Floats:
    """Number of times that a failure of one unit has a larger x than another pair of another unit; ties count half.

    This is the sum of the mid-ranks of failures, by unit.

    Args:
        x: (pairs,).
        failed: (pairs,).
        unit: (pairs,), the unit of each pair.
        units: number of units.

    Returns:
        (units of failures, units of other pairs).
    """
    ordered = np.empty((units, units))
    for other in range(units):
        below = np.sort(x[~failed & (unit == other)])
        smaller = (np.searchsorted(below, x[failed], "left") + np.searchsorted(below, x[failed], "right")) / 2
        ordered[:, other] = np.bincount(unit[failed], weights=smaller, minlength=units)
    return ordered
