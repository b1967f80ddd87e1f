"""Largest absolute value of a metric, such as a noise floor. It has no sampling interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.design.cell import Where
from vjepa_stress.statistics.base import OfOneMetric, Sample, Span
from vjepa_stress.statistics.numerics.arrays import Floats, as_table
from vjepa_stress.statistics.numerics.complete import complete
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, undefined
from vjepa_stress.statistics.numerics.resample import Resampling


class Maximum(OfOneMetric):
    """Largest absolute value of a metric over all units and cells of a filter, without an interval."""

    words: ClassVar[Mapping[str, str]] = {
        "name": "maximum",
        "of": "largest absolute {metric}",
        "over": "largest absolute {metric} over {where}",
    }

    statistic: Literal["maximum"]
    where: Where
    interval: Literal["none"] = "none"

    def value_range(self, spans: Sequence[Span]) -> Span:
        """The range of the absolute value."""
        ((low, high),) = spans
        return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:  # noqa: ARG002
        """Compute the maximum; nothing is resampled."""
        return _maximum(sample.parts[0])


def _maximum(table: Floats) -> Estimate:
    if not np.isfinite(table).any():
        return undefined(table.shape[0], "none", Note(code="too-few-units"))
    value = float(np.nanmax(np.abs(table)))
    return Estimate(value=value, low=value, high=value, n=table.shape[0], method="none")


def maximum(values: ArrayLike) -> Estimate:
    """Largest absolute value over all units and cells, without a sampling interval.

    Args:
        values: (units,) or (units, cells); NaN for missing values. Units without a value are left out, with a note
            in the estimate.
    """
    (table,), note = complete(as_table(values))
    return _maximum(table).noted(note)
