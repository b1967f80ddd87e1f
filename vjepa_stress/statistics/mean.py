"""Mean of a metric over (unit, cell) pairs, with a bootstrap over units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.design.cell import Where
from vjepa_stress.statistics.base import MEANS_ENDS, OfMean, OfOneMetric, Sample, Span
from vjepa_stress.statistics.numerics.arrays import as_table, rows_by_unit, unit_means, with_values
from vjepa_stress.statistics.numerics.betting import of_units
from vjepa_stress.statistics.numerics.complete import complete, note_of_values
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.resample import Ends, Groups, MeansStatistic, Resampling


class Mean(OfOneMetric):
    """Mean of a metric over all (unit, cell) pairs of a filter; bootstrap over units.

    With a betting interval, each unit is averaged first, and all units have the same weight.
    """

    is_mean: ClassVar[bool] = True
    other_ends: ClassVar[tuple[Method, ...]] = MEANS_ENDS
    words: ClassVar[Mapping[str, str]] = {
        "name": "mean",
        "of": "mean {metric}",
        "over": "mean {metric} over {where}",
    }

    statistic: Literal["mean"]
    where: Where
    interval: OfMean = "expanded"

    def value_range(self, spans: Sequence[Span]) -> Span:
        """The range of the metric."""
        return spans[0]

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Plan a bootstrap over units, or bet on them in their order."""
        if self.interval == "betting":
            return of_units(unit_means(sample.parts[0])[:, 0], self.value_range(sample.spans), how.level)
        return plan_mean(sample.parts[0], self.interval)


def plan_mean(values: ArrayLike, ends: Ends = "expanded") -> PendingEstimate | Estimate:
    """Plan `bootstrap_mean`."""
    table = as_table(values)
    if table.shape[0] < 2 or not np.isfinite(table).any():
        return undefined(table.shape[0], ends, Note(code="too-few-units"))
    statistic = MeansStatistic(table, Groups.side_by_side(table.shape[1]), lambda means: means[0])
    return PendingEstimate(statistic, ends)


def bootstrap_mean(values: ArrayLike, how: Resampling | None = None, *, interval: Ends = "expanded") -> Estimate:
    """Mean over (unit, cell) pairs, with a bootstrap over units.

    Args:
        values: (units,) or (units, cells); NaN for missing values. Units without a value are left out, with a note
            in the estimate.
        how: level, resamples and seed.
        interval: expanded percentile, percentile or BCa ends.
    """
    (table,), note = complete(values)
    planned = plan_mean(table, interval)
    return evaluate([planned.noted(note)], how or Resampling())[0]


def cluster_bootstrap(
    values: ArrayLike,
    clips: ArrayLike,
    how: Resampling | None = None,
    *,
    weighting: Literal["row", "clip"] = "row",
    interval: Ends = "percentile",
) -> Estimate:
    """Mean of rows that belong to clips, with a cluster bootstrap: whole clips are drawn, with all their rows.

    Args:
        values: (rows,), in any order.
        clips: (rows,), the clip of each row.
        how: level, resamples and seed.
        weighting: `row` gives each row the same weight, `clip` gives each clip the same weight (mean of clip means).
        interval: percentile (the classic form), expanded percentile or BCa ends.
    """
    note = note_of_values(values)
    (table,) = rows_by_unit(clips, values)
    if weighting == "clip":
        table = unit_means(table)
    planned = plan_mean(with_values(table) if table.size else table, interval)
    return evaluate([planned.noted(note)], how or Resampling())[0]
