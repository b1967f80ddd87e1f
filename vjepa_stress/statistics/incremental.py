"""Gain in held-out R² when a metric is added to the means of groups of cells, with a bootstrap over units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from vjepa_stress.design.base import Design
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import Resampled, Sample, Span
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.numerics.arrays import as_table, paired
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.pairs import (
    CONSTANT,
    by_group,
    centred,
    is_constant,
    numbered,
    plan_share,
    standardised,
)
from vjepa_stress.statistics.numerics.resample import Resampling


class Incremental(TwoMetrics):
    """Gain in held-out R² of predicting y when x is added to one mean of y per group of cells.

    The factors `beyond` define the groups: cells with the same levels of these factors share a group. Both models,
    y ~ group and y ~ group + x, are fitted without one unit and predict it, for each unit in turn. The gain is the
    difference of their R², with the same total sum of squares. On average it is negative if x adds nothing. It does
    not depend on the sign of the association. A group that only one unit has cannot be predicted and is left out.

    The bootstrap resamples units with their held-out errors. The models are not fitted again, so the interval does
    not include the error of their coefficients.
    """

    least_sources: ClassVar[int] = 60
    words: ClassVar[Mapping[str, str]] = {
        "name": "gain in held-out R²",
        "of": "gain in held-out R² of {y} when {x} is added to means by {beyond}",
        "over": "gain in held-out R² of {y} when {x} is added to means by {beyond}, over {where}",
        "same-number": "{x} and {y} are equal when content does not move: {x} always predicts {y} without error",
    }

    statistic: Literal["incremental"]
    beyond: tuple[Name, ...] = Field(min_length=1)
    interval: Resampled = "expanded"

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

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:  # noqa: ARG002
        """Fit both models without each unit, and plan a bootstrap over units."""
        groups = [tuple(cell[factor] for factor in self.beyond) for cell in sample.cells]
        return plan_incremental(sample.parts[0], sample.parts[1], groups)


def plan_incremental(x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable]) -> PendingEstimate | Estimate:
    """Plan `incremental`."""
    left, right = paired(as_table(x), as_table(y))
    group = numbered(groups)
    predictable = (by_group(np.isfinite(left).astype(np.float64), group) > 0).sum(0) > 1
    left, right = (np.where(predictable[group], part, np.nan) for part in (left, right))
    units, pairs = left.shape[0], int(np.isfinite(left).sum())
    if pairs == 0:  # no group has pairs of two units
        return undefined(units, "expanded", Note(code="too-few-units"), pairs=pairs)
    constant = undefined(units, "expanded", Note(code="constant"), pairs=pairs)
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
    return plan_share(without**2 - added**2, right, lambda share: share, pairs)


def incremental(x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable], how: Resampling | None = None) -> Estimate:
    """Gain in held-out R² of predicting y when x is added to the means of groups; see `Incremental`.

    Args:
        x, y: (units, columns), of the same shape; NaN for missing values.
        groups: the group of each column.
        how: level, resamples and seed.
    """
    note = note_of_pairs(x, y)
    return evaluate([plan_incremental(x, y, groups).noted(note)], how or Resampling())[0]
