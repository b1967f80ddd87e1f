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
    units, defined = left.shape[0], np.isfinite(left)
    pairs = int(defined.sum())
    if units < 2:
        return undefined(units, "jackknife", Note(code="too-few-units"), pairs=pairs)
    failed = defined & (right >= failure_at)
    other = defined & ~failed
    if not failed.any() or not other.any():
        return undefined(units, "jackknife", Note(code="one-class"), pairs=pairs)
    # For each failure the number of other pairs with a smaller x, and for each other pair that of larger failures.
    smaller = _below(left[failed], left[other])
    larger = failed.sum() - _below(left[other], left[failed])
    by_failure, by_other = (_by_unit(*part) for part in ((failed, smaller), (other, larger)))
    # Without a unit, both are missing, and what its own pairs contribute to both is missing once.
    rest = by_failure.sum() - by_failure - by_other + _inside(left, failed, other)
    failures, others = failed.sum(1), other.sum(1)
    value = float(by_failure.sum() / (failures.sum() * others.sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        without = rest / ((failures.sum() - failures) * (others.sum() - others))
    return estimate_of(value, without, on_logit_scale(value, without, level, strata), pairs)


def _below(values: Floats, of: Floats) -> Floats:
    """For each value, how many of the others are smaller; ties count half."""
    ordered = np.sort(of)
    found: Floats = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2
    return found


def _by_unit(chosen: NDArray[np.bool_], values: Floats) -> Floats:
    """Sums of the values of the chosen pairs by unit."""
    sums: Floats = np.bincount(np.nonzero(chosen)[0], weights=values, minlength=len(chosen)).astype(np.float64)
    return sums


def _inside(x: Floats, failed: NDArray[np.bool_], other: NDArray[np.bool_]) -> Floats:
    """For each unit, how often a failure of it has a larger x than another pair of it; ties count half."""
    found = np.zeros(len(x))
    for column in np.flatnonzero(failed.any(0)).tolist():
        one = x[:, column, None]
        found += (((one > x) + 0.5 * (one == x)) * (failed[:, column, None] & other)).sum(1)
    return found
