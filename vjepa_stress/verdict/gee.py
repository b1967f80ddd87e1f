"""Regression of one metric on another net of groups of cells, by generalised estimating equations.

It is a finding for reports. No rule reads it.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from vjepa_stress.statistics.numerics.arrays import as_table, paired
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, undefined
from vjepa_stress.statistics.numerics.pairs import centred, is_constant, numbered, standardised

LEAST = 30
"""Robust intervals from fewer clusters are too narrow."""


def gee(x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable], level: float) -> Estimate:
    """Coefficient of x in y ~ group + x, with a robust interval.

    The model is linear, with one indicator per group. Rows are clusters with an exchangeable working correlation
    (Liang and Zeger 1986). The interval is normal, with the robust covariance of all coefficients.

    Args:
        x, y: (units, columns), of the same shape; NaN for missing values.
        groups: the group of each column.
        level: coverage of the interval.

    Returns:
        The change of y per unit of x within groups. Undefined for fewer than `LEAST` units, if x or y is constant
        within groups, and if the equations have no solution.
    """
    left, right = paired(as_table(x), as_table(y))
    units, pairs, group = left.shape[0], int(np.isfinite(left).sum()), numbered(groups)
    if units < LEAST:
        return undefined(units, "gee", Note(code="few-units", value=LEAST), pairs=pairs)
    if any(is_constant(centred(part, group), part) for part in (left, right)):
        return undefined(units, "gee", Note(code="constant"), pairs=pairs)
    # Imported when needed: statsmodels imports pandas, which would dominate the start-up time of an audit.
    from statsmodels.genmod.cov_struct import Exchangeable
    from statsmodels.genmod.generalized_estimating_equations import GEE

    unit, column = np.nonzero(np.isfinite(left))
    used = np.unique(group[column])
    indicators = (group[column][:, None] == used).astype(np.float64)
    predictor, outcome = standardised(left)[unit, column], standardised(right)[unit, column]
    scale = float(np.nanstd(right) / np.nanstd(left))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the result says whether it converged
        fitted = GEE(outcome, np.column_stack([predictor, indicators]), groups=unit, cov_struct=Exchangeable()).fit()
    value, error = scale * float(fitted.params[0]), scale * float(fitted.bse[0])
    if not fitted.converged or not np.isfinite([value, error]).all():
        return undefined(units, "gee", Note(code="no-fit"), pairs=pairs)
    half = float(special.ndtri((1 + level) / 2)) * error
    return Estimate(value=value, low=value - half, high=value + half, n=units, method="gee", pairs=pairs)
