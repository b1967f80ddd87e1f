"""Held-out R² of predicting one metric from another at levels that are left out, with a bootstrap over units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.design.base import Design
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import Resampled, Sample, Span
from vjepa_stress.statistics.base_two_metrics import TwoMetrics
from vjepa_stress.statistics.numerics.arrays import as_table, paired
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.pairs import CONSTANT, by_group, numbered, plan_share, standardised
from vjepa_stress.statistics.numerics.resample import Resampling


class Transfer(TwoMetrics):
    """Held-out R² of predicting y from x, when each level of the factor `leave_out` is left out in turn.

    The line y ~ a + b·x is fitted to all pairs of the other levels and predicts the pairs of the level that is left
    out. R² is 1 − Σ(y − prediction)²/Σ(y − ȳ)² over all pairs, with the mean ȳ of all pairs. It is negative if the
    predictions are worse than this mean.

    The bootstrap resamples units with their held-out errors. The lines are not fitted again, so the interval does
    not include the error of their coefficients.
    """

    least_sources: ClassVar[int] = 60
    words: ClassVar[Mapping[str, str]] = {
        "name": "held-out R²",
        "of": "held-out R² of {y} predicted from {x} at each {leave_out} that is left out",
        "over": "held-out R² of {y} predicted from {x} at each {leave_out} that is left out, over {where}",
        "same-number": "{x} and {y} are equal when content does not move: R² is always 1",
    }

    statistic: Literal["transfer"]
    leave_out: Name
    interval: Resampled = "expanded"

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

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:  # noqa: ARG002
        """Predict each level from the others, and plan a bootstrap over units."""
        return plan_transfer(sample.parts[0], sample.parts[1], [cell[self.leave_out] for cell in sample.cells])


def plan_transfer(x: ArrayLike, y: ArrayLike, levels: Sequence[Hashable]) -> PendingEstimate | Estimate:
    """Plan `transfer`."""
    left, right = paired(as_table(x), as_table(y))
    defined = np.isfinite(left)
    observed = defined.any(0)
    left, right, defined = left[:, observed], right[:, observed], defined[:, observed]
    level = numbered([levels[column] for column in np.flatnonzero(observed).tolist()])
    units, pairs = left.shape[0], int(defined.sum())
    if units < 2:
        return undefined(units, "expanded", Note(code="too-few-units"), pairs=pairs)
    if level.max() < 1:
        return undefined(units, "expanded", Note(code="too-few-groups"), pairs=pairs)
    constant = undefined(units, "expanded", Note(code="constant"), pairs=pairs)
    if any(np.ptp(part[defined]) == 0 for part in (left, right)):
        return constant
    left, right = standardised(left), standardised(right)
    # Sums of all other levels, for each level.
    parts = (defined.astype(np.float64), left, right, left**2, left * right)
    n, x_sum, y_sum, squares, products = (
        sums.sum() - sums for sums in (by_group(part, level).sum(0) for part in parts)
    )
    x_variance = squares - x_sum**2 / n
    if (x_variance <= CONSTANT * squares).any():
        return constant
    slope = (products - x_sum * y_sum / n) / x_variance
    errors = right - (y_sum / n)[level] - slope[level] * (left - (x_sum / n)[level])
    return plan_share(errors**2, right, lambda share: 1 - share, pairs)


def transfer(x: ArrayLike, y: ArrayLike, levels: Sequence[Hashable], how: Resampling | None = None) -> Estimate:
    """Held-out R² of predicting y from x at each level that is left out; see `Transfer`.

    Args:
        x, y: (units, columns), of the same shape; NaN for missing values.
        levels: the level of each column.
        how: level, resamples and seed.
    """
    note = note_of_pairs(x, y)
    return evaluate([plan_transfer(x, y, levels).noted(note)], how or Resampling())[0]
