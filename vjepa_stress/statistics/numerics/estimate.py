"""Estimates, and pending estimates, which lack only their resamples. Both hold codes and numbers, no sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from pydantic import Field

from vjepa_stress.fields import Finite, Frozen
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.resample import (
    Ends,
    MeansStatistic,
    Resampling,
    bca_ends,
    expanded,
    percentile_ends,
    resample,
)

Method = Literal[
    "expanded", "jackknife", "percentile", "bca", "fisher", "student-t", "max-t", "gee", "betting", "none"
]
"""Method of an interval: bootstrap over units with expanded percentile, percentile or BCa ends; jackknife over units;
Fisher's z; Student's t; simultaneous intervals by the bootstrap of the largest t; generalised estimating equations; a
confidence sequence by betting; or no interval."""

Reads = Literal["number", "curve", "pooled-curve", "trend"]
"""What a statistic yields and a rule reads: one value with an interval, changes with simultaneous intervals, changes
with pooled half-widths, or a rank correlation with the interval of the whole change."""

NoteCode = Literal[
    "too-few-units",
    "too-few-pairs",
    "too-few-levels",
    "too-few-groups",
    "constant",
    "no-value",
    "no-value-in-resamples",
    "no-value-without-a-unit",
    "no-bias-correction",
    "undefined-values",
    "values-left-out",
    "cells-missing",
    "one-class",
    "few-units",
    "no-fit",
    "out-of-range",
    "no-mean-left",
]
"""Reason why an estimate is undefined, or what was left out of it."""


class Note(Frozen):
    """A note on an estimate.

    Attributes:
        code: code of the text.
        value: number of values or cells, or share of the resamples.
        columns: the affected shard columns.
    """

    code: NoteCode
    value: Finite | None = Field(default=None, exclude_if=lambda value: value is None)
    columns: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)


class Step(Frozen):
    """Change of a metric from one level to another.

    Attributes:
        value: mean at the second level minus mean at the first.
        half_width: pooled half-width of both means, √(h₁² + h₂²), as if for different units; null if not computed.
        low, high: paired interval over the units that both levels have; null for fewer than two units.
        n: number of units that both levels have.
    """

    value: Finite
    half_width: Finite | None = Field(default=None, exclude_if=lambda half: half is None)
    low: Finite | None
    high: Finite | None
    n: int


class Estimate(Frozen):
    """A number with its interval.

    Attributes:
        value: the estimate; null if undefined.
        low, high: ends of the interval; both equal `value` if the statistic has no sampling interval.
        n: number of units with a value, or of pairs for a Fisher interval.
        method: method of the interval.
        notes: reasons why it is undefined, or what was left out.
        pairs: for a correlation, the number of pairs.
        steps: for `jumps`, the change from each level to the next.
        overall: for `jumps` and `trend`, the change from the first level to the last.
    """

    value: Finite | None
    low: Finite | None
    high: Finite | None
    n: int
    method: Method
    notes: tuple[Note, ...] = Field(default=(), exclude_if=lambda notes: not notes)
    pairs: int | None = Field(default=None, exclude_if=lambda pairs: pairs is None)
    steps: tuple[Step, ...] = Field(default=(), exclude_if=lambda steps: not steps)
    overall: Step | None = Field(default=None, exclude_if=lambda step: step is None)

    @property
    def defined(self) -> bool:
        """Whether value and interval are defined, so that a rule can read them."""
        return self.value is not None and self.low is not None and self.high is not None

    def noted(self, note: Note | None) -> Estimate:
        """The estimate with an additional note, if there is one."""
        return self.model_copy(update={"notes": (*self.notes, note)}) if note else self

    def ending(self, interval: str) -> Estimate:  # noqa: ARG002
        """The estimate itself: it has its interval."""
        return self

    def within(self, strata: tuple[int, ...]) -> Estimate:  # noqa: ARG002
        """The estimate itself: it has its interval."""
        return self


def undefined(n: int, method: Method, *notes: Note, pairs: int | None = None) -> Estimate:
    """An undefined estimate."""
    return Estimate(value=None, low=None, high=None, n=n, method=method, notes=notes, pairs=pairs)


def of_resamples(
    value: float, samples: Floats, ends: Floats, n: int, method: Method, *notes: Note, pairs: int | None = None
) -> Estimate:
    """The estimate, given the value, the resamples and the interval; undefined if one of them is undefined."""
    low, high = ends.tolist()
    if not math.isfinite(value):
        return undefined(n, method, Note(code="no-value"), *notes, pairs=pairs)
    if not math.isfinite(low + high):
        share = float(np.mean(~np.isfinite(samples)))
        note = Note(code="no-value-in-resamples", value=share) if share else Note(code="no-bias-correction")
        return undefined(n, method, note, *notes, pairs=pairs)
    return Estimate(value=value, low=low, high=high, n=n, method=method, notes=notes, pairs=pairs)


@dataclass(frozen=True)
class PendingEstimate:
    """An estimate that lacks only its resamples.

    Attributes:
        statistic: the statistic to resample.
        ends: method of the interval.
        notes: what was left out.
        pairs: for a correlation, the number of pairs.
        rank: for `trend`, its value. The resampled statistic is then the change from the first level to the last.
    """

    statistic: MeansStatistic
    ends: Ends = "expanded"
    notes: tuple[Note, ...] = ()
    pairs: int | None = None
    rank: float | None = None

    def noted(self, note: Note | None) -> PendingEstimate:
        """The pending estimate with an additional note, if there is one."""
        return replace(self, notes=(*self.notes, note)) if note else self

    def ending(self, interval: str) -> PendingEstimate:
        """The pending estimate with another method of the interval, one of `Ends`."""
        return self if interval == self.ends else replace(self, ends=cast(Ends, interval))

    def within(self, strata: tuple[int, ...]) -> PendingEstimate:
        """The pending estimate with units drawn within strata, given the number of units of each."""
        if len(strata) < 2:
            return self
        return replace(self, statistic=replace(self.statistic, strata=strata))

    def point(self) -> Estimate:
        """The estimate without an interval (both ends equal the value), for rules that do not read the interval."""
        n, value = self.statistic.units, self.statistic.value()
        if not math.isfinite(value):
            return undefined(n, "none", Note(code="no-value"), *self.notes, pairs=self.pairs)
        return Estimate(value=value, low=value, high=value, n=n, method="none", notes=self.notes, pairs=self.pairs)

    def finish(self, value: float, samples: Floats, ends: Floats) -> Estimate:
        """The estimate, given the value, the resamples and the interval; undefined if one of them is undefined."""
        n = self.statistic.units
        whole = of_resamples(value, samples, ends, n, self.ends, *self.notes, pairs=self.pairs)
        if self.rank is None or whole.value is None:
            return whole
        overall = Step(value=whole.value, low=whole.low, high=whole.high, n=n)
        return whole.model_copy(update={"value": self.rank, "low": self.rank, "high": self.rank, "overall": overall})


def evaluate(planned: Sequence[PendingEstimate | Estimate], how: Resampling) -> list[Estimate]:
    """Finish many estimates at once, in the given order. Estimates that are not pending are returned unchanged."""
    pending = [one for one in planned if isinstance(one, PendingEstimate)]
    finished = finish(pending, resample([one.statistic for one in pending], how), how.level)
    return [next(finished) if isinstance(one, PendingEstimate) else one for one in planned]


def finish(
    pending: Sequence[PendingEstimate], resampled: Iterator[list[tuple[float, Floats]]], level: float
) -> Iterator[Estimate]:
    """Estimates from resamples. The intervals of each batch of resampled statistics are computed at once."""
    first = 0
    for batch in resampled:
        members = pending[first : first + len(batch)]
        # All members of a batch have the same units and strata.
        one = members[0].statistic
        wider = expanded(level, one.units, len(one.strata) or 1)
        both = percentile_ends(np.stack([samples for _, samples in batch]), level, wider)
        for n, (member, (value, samples)) in enumerate(zip(members, batch, strict=True)):
            ends = both[n, 2:] if member.ends == "expanded" else both[n, :2]
            if member.ends == "bca" and math.isfinite(value) and np.isfinite(ends).all():
                ends = bca_ends(value, samples, member.statistic.leaving_one_out(), level)
            yield member.finish(value, samples, ends)
        first += len(batch)
