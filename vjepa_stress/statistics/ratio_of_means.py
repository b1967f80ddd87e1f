"""Ratio of two means on the same units, with a paired bootstrap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from numpy.typing import ArrayLike

from vjepa_stress.design.cell import Where
from vjepa_stress.statistics.base import MEANS_ENDS, Comparison, Resampled, Sample, Span
from vjepa_stress.statistics.numerics.complete import complete
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, PendingEstimate, evaluate
from vjepa_stress.statistics.numerics.paired_means import compare_means
from vjepa_stress.statistics.numerics.resample import Ends, Resampling


class RatioOfMeans(Comparison):
    """Mean of one filter divided by the mean of another on the same units; paired bootstrap."""

    other_ends: ClassVar[tuple[Method, ...]] = MEANS_ENDS
    words: ClassVar[Mapping[str, str]] = {
        "name": "ratio of means",
        "of": "ratio of mean {metric}",
        "over": "mean {metric} over {numerator}, divided by mean {metric} over {denominator}",
    }
    same: ClassVar[str] = "ratio is 1"

    statistic: Literal["ratio_of_means"]
    numerator: Where
    denominator: Where
    interval: Resampled = "expanded"

    def value_range(self, spans: Sequence[Span]) -> Span:
        """Smallest and largest possible quotient."""
        above, below = spans
        if below[0] <= 0:
            return (0.0 if above[0] >= 0 and below[0] == 0 else -math.inf), math.inf
        quotients = [one / other for one in above for other in below]
        return min(quotients), max(quotients)

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:  # noqa: ARG002
        """Plan a paired bootstrap over units."""
        return plan_ratio(sample.parts[0], sample.parts[1], self.interval)


def plan_ratio(numerator: ArrayLike, denominator: ArrayLike, ends: Ends = "expanded") -> PendingEstimate | Estimate:
    """Plan `ratio_of_means`."""
    return compare_means(numerator, denominator, lambda means: means[0] / means[1], ends)


def ratio_of_means(
    numerator: ArrayLike,
    denominator: ArrayLike,
    how: Resampling | None = None,
    *,
    interval: Ends = "expanded",
) -> Estimate:
    """Ratio of two means on the same units, with a paired bootstrap.

    Args:
        numerator, denominator: (units,) or (units, cells), rows of the same units in the same order; NaN for missing
            values. Units without a value on both sides are left out, with a note in the estimate.
        how: level, resamples and seed.
        interval: expanded percentile, percentile or BCa ends.
    """
    (above, below), note = complete(numerator, denominator)
    planned = plan_ratio(above, below, interval)
    return evaluate([planned.noted(note)], how or Resampling())[0]
