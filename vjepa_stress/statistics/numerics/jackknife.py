"""The jackknife over units: standard errors with degrees of freedom, and intervals on several scales.

The bootstrap of a correlation is too narrow if few units determine it, as in data without fourth moments: resamples
vary less than samples do. The jackknife errs in the other direction (Efron & Stein 1981). How well it knows the
standard error depends on the same few units, which the degrees of freedom take into account.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, undefined

_LARGEST = 1 - 1e-15
"""A correlation of 1 without a unit is treated as this, which makes the interval wide and not undefined."""


class Interval(NamedTuple):
    """Both ends."""

    low: float
    high: float


@dataclass(frozen=True)
class Jackknife:
    """How precisely an estimate is known.

    Attributes:
        error: standard error.
        freedom: degrees of freedom of the standard error.
    """

    error: float
    freedom: float

    @classmethod
    def of(cls, leaving_one_out: Floats, strata: tuple[int, ...] = ()) -> Jackknife:
        """The jackknife variance: the sum of (n − 1)/n · (deviation from the mean)².

        Deviations are from the mean of a stratum. Without one of m units of a stratum, its share of all units is
        smaller; a factor √((n − 1)/n · m/(m − 1)) makes them those for constant shares.

        The variance of this sum, from the fourth powers of the deviations, determines the degrees of freedom
        (Satterthwaite 1946): 2 (n − strata)/(kurtosis − 1). They are at most n − strata, which they are for normal
        deviations, and 2 if one unit has all of the variance.

        Args:
            leaving_one_out: (units,), the estimate without each unit.
            strata: numbers of units of consecutive strata; empty for one stratum.
        """
        sizes = [size for size in strata or (len(leaving_one_out),) if size]
        parts = np.split(leaving_one_out, np.cumsum(sizes)[:-1])
        units, freedom = len(leaving_one_out), max(1, len(leaving_one_out) - len(sizes))
        share = ((units - 1) / units) ** 2
        squares = np.concatenate(
            [share * len(part) / max(1, len(part) - 1) * (part - part.mean()) ** 2 for part in parts]
        )
        variance = float(squares.sum())
        if variance == 0:
            return cls(0.0, freedom)
        excess = units * float((squares**2).sum()) / variance**2 - 1
        return cls(math.sqrt(variance), freedom if excess <= 2 else 2 * freedom / excess)

    def half_width(self, level: float) -> float:
        """Half of the width of the interval, with a quantile of Student's t."""
        return float(special.stdtrit(self.freedom, (1 + level) / 2)) * self.error


def on_fisher_scale(r: float, leaving_one_out: Floats, level: float, strata: tuple[int, ...]) -> Interval:
    """Interval of a correlation, on the scale z = atanh r; (r, r) for |r| = 1.

    Args:
        r: the correlation.
        leaving_one_out: (units,), the correlation without each unit.
        level: coverage.
        strata: see `Jackknife.of`.
    """
    if abs(r) >= 1:
        return Interval(r, r)
    half, z = Jackknife.of(fisher_z(leaving_one_out), strata).half_width(level), math.atanh(r)
    return Interval(math.tanh(z - half), math.tanh(z + half))


def fisher_z(r: Floats) -> Floats:
    """Fisher's z, atanh r, which is finite also for r = ±1."""
    z: Floats = np.arctanh(np.clip(r, -_LARGEST, _LARGEST))
    return z


def on_logit_scale(p: float, leaving_one_out: Floats, level: float, strata: tuple[int, ...]) -> Interval:
    """Interval of a probability, on the scale log(p/(1 − p)); (p, p) for p of 0 or 1.

    The standard error is that of p, divided by p (1 − p): without a unit, p may be 1.
    """
    half = Jackknife.of(leaving_one_out, strata).half_width(level)
    if not 0 < p < 1:
        return Interval(p, p)
    logit, half = float(special.logit(p)), half / (p * (1 - p))
    return Interval(float(special.expit(logit - half)), float(special.expit(logit + half)))


def of_share(share: float, leaving_one_out: Floats, level: float, strata: tuple[int, ...]) -> Interval:
    """Interval of an R², which is at most 1 and may be negative: the wider of two at each end.

    One is on the scale of R² itself. The standard error of R² is small where R² is small, so if the sample has a
    small R² by chance, that interval ends too low. The other is on the scale of Fisher's z of a root of R² that is
    smooth at 0, which it is from one standard error on. Near 0, only the first holds.
    """
    knife = Jackknife.of(leaving_one_out, strata)
    half = knife.half_width(level)
    if knife.error == 0 or share >= 1:
        return Interval(share, share)
    smooth, size = knife.error, abs(share)
    largest = math.sqrt(1 + smooth) - math.sqrt(smooth)
    root = (math.sqrt(size + smooth) - math.sqrt(smooth)) / largest
    slope = 1 / (2 * largest * math.sqrt(size + smooth))
    if share > 0:
        root, slope = math.atanh(root), slope / (1 - root**2)
    else:
        root = -root

    def back(at: float) -> float:
        scaled = largest * (math.tanh(at) if at > 0 else at)
        return math.copysign((abs(scaled) + math.sqrt(smooth)) ** 2 - smooth, at)

    return Interval(
        min(share - half, back(root - half * slope)), min(1.0, max(share + half, back(root + half * slope)))
    )


def estimate_of(value: float, leaving_one_out: Floats, ends: Interval, pairs: int) -> Estimate:
    """The estimate; undefined if the value or that without some unit is undefined.

    Args:
        value: the value.
        leaving_one_out: (units,), the value without each unit.
        ends: the interval.
        pairs: number of pairs.
    """
    n = len(leaving_one_out)
    if not math.isfinite(value):
        return undefined(n, "jackknife", Note(code="no-value"), pairs=pairs)
    if lacking := int((~np.isfinite(leaving_one_out)).sum()):
        return undefined(n, "jackknife", Note(code="no-value-without-a-unit", value=lacking), pairs=pairs)
    return Estimate(value=value, low=ends.low, high=ends.high, n=n, method="jackknife", pairs=pairs)
