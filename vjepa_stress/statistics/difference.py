"""Difference of two means on the same units, with a paired bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

from numpy.typing import ArrayLike
from pydantic import model_validator

from vjepa_stress.design.cell import Where
from vjepa_stress.statistics.base import MEANS_ENDS, Comparison, OfMean, Sample, Span
from vjepa_stress.statistics.numerics.arrays import unit_means
from vjepa_stress.statistics.numerics.betting import of_units
from vjepa_stress.statistics.numerics.complete import complete
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, PendingEstimate, evaluate
from vjepa_stress.statistics.numerics.paired_means import compare_means
from vjepa_stress.statistics.numerics.resample import Ends, Resampling


class Difference(Comparison):
    """Mean of one filter minus the mean of another on the same units; paired bootstrap.

    With a betting interval, the difference of each unit is computed first, and all units have the same weight.
    """

    is_mean: ClassVar[bool] = True
    other_ends: ClassVar[tuple[Method, ...]] = MEANS_ENDS
    words: ClassVar[Mapping[str, str]] = {
        "name": "difference of means",
        "of": "difference of mean {metric}",
        "over": "mean {metric} over {of}, minus mean {metric} over {minus}",
    }
    same: ClassVar[str] = "difference is 0"

    statistic: Literal["difference"]
    of: Where
    minus: Where
    interval: OfMean = "expanded"

    @model_validator(mode="after")
    def _two_filters(self) -> Self:
        if self.of == self.minus:
            raise ValueError("`of` and `minus` are the same filter, so the difference is 0")
        return self

    def value_range(self, spans: Sequence[Span]) -> Span:
        """Smallest and largest possible difference."""
        (low, high), (other_low, other_high) = spans
        return low - other_high, high - other_low

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Plan a paired bootstrap over units, or bet on their differences in their order."""
        if self.interval == "betting":
            of, minus = map(unit_means, sample.parts)
            return of_units((of - minus)[:, 0], self.value_range(sample.spans), how.level)
        return plan_difference(sample.parts[0], sample.parts[1], self.interval)


def plan_difference(of: ArrayLike, minus: ArrayLike, ends: Ends = "expanded") -> PendingEstimate | Estimate:
    """Plan `difference`."""
    return compare_means(of, minus, lambda means: means[0] - means[1], ends)


def difference(
    of: ArrayLike, minus: ArrayLike, how: Resampling | None = None, *, interval: Ends = "expanded"
) -> Estimate:
    """Difference of two means on the same units, with a paired bootstrap.

    Args:
        of, minus: (units,) or (units, cells), rows of the same units in the same order; NaN for missing values.
            Units without a value on both sides are left out, with a note in the estimate.
        how: level, resamples and seed.
        interval: expanded percentile, percentile or BCa ends.
    """
    (first, second), note = complete(of, minus)
    planned = plan_difference(first, second, interval)
    return evaluate([planned.noted(note)], how or Resampling())[0]
