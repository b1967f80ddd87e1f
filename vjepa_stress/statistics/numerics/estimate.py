"""Estimates, and estimates that lack only their resamples. Both are data: codes and numbers, no sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from vjepa_stress.fields import Finite, Frozen
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.resample import (
    Ends,
    MeansStatistic,
    Resampling,
    bca_ends,
    percentile_ends,
    resample,
)

Method = Literal["percentile", "bca", "cluster", "fisher", "student-t", "none"]
"""How an interval was computed: bootstrap over units with percentile or BCa ends, the same of pairs that belong to
units, Fisher's z, Student's t, or no interval."""

NoteCode = Literal[
    "too-few-units",
    "too-few-pairs",
    "too-few-levels",
    "too-few-groups",
    "constant",
    "no-value",
    "no-value-in-resamples",
    "no-bias-correction",
    "undefined-values",
    "values-left-out",
    "cells-missing",
]
"""Why an estimate is undefined, or what was left out of it."""


class Note(Frozen):
    """One remark on an estimate.

    Attributes:
        code: which.
        value: the number it is about: how many values or cells, or which share of the resamples.
        columns: the shard columns it is about.
    """

    code: NoteCode
    value: Finite | None = Field(default=None, exclude_if=lambda value: value is None)
    columns: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)


class Step(Frozen):
    """What a metric gains from one level to another.

    Attributes:
        value: mean at the second level minus mean at the first, each over its own units.
        half_width: both means' half-widths pooled, √(h₁² + h₂²).
        low, high: the paired interval, over the units that both have; null for fewer than two.
        n: units that both have.
    """

    value: Finite
    half_width: Finite
    low: Finite | None
    high: Finite | None
    n: int


class Estimate(Frozen):
    """A number with its interval.

    Attributes:
        value: the estimate, null where undefined.
        low, high: ends of the interval; both equal `value` where the statistic has no sampling interval.
        n: units that have a value, or pairs for a Fisher interval.
        method: how the interval was computed.
        notes: why it is undefined, or what was left out.
        pairs: for a correlation, how many pairs it rests on.
        steps: for `jumps`, each level against the one before.
        overall: for `jumps`, the last level against the first.
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
        """Whether a rule can read it."""
        return self.value is not None and self.low is not None and self.high is not None

    def noted(self, note: Note) -> Estimate:
        """The same estimate with one more note."""
        return self.model_copy(update={"notes": (*self.notes, note)})


def undefined(n: int, method: Method, *notes: Note, pairs: int | None = None) -> Estimate:
    """An estimate that no rule can read."""
    return Estimate(value=None, low=None, high=None, n=n, method=method, notes=notes, pairs=pairs)


@dataclass(frozen=True)
class PendingEstimate:
    """An estimate that lacks only its resamples.

    Attributes:
        statistic: what is resampled.
        ends: how its interval ends.
        method: what the estimate says of its interval.
        notes: what was left out.
        pairs: for a correlation, how many pairs it rests on.
    """

    statistic: MeansStatistic
    ends: Ends = "percentile"
    method: Method = "percentile"
    notes: tuple[Note, ...] = ()
    pairs: int | None = None

    def noted(self, note: Note) -> PendingEstimate:
        """The same estimate with one more note."""
        return PendingEstimate(self.statistic, self.ends, self.method, (*self.notes, note), self.pairs)

    def point(self) -> Estimate:
        """The estimate without an interval, for rules that read none: both ends are the value."""
        n, value = self.statistic.units, self.statistic.value()
        if not math.isfinite(value):
            return undefined(n, "none", Note(code="no-value"), *self.notes, pairs=self.pairs)
        return Estimate(value=value, low=value, high=value, n=n, method="none", notes=self.notes, pairs=self.pairs)

    def finish(self, value: float, samples: Floats, ends: Floats) -> Estimate:
        """The estimate, given the statistic, its resamples and their interval; undefined when one of them is."""
        n = self.statistic.units
        low, high = ends.tolist()
        if not math.isfinite(value):
            return undefined(n, self.method, Note(code="no-value"), *self.notes, pairs=self.pairs)
        if not math.isfinite(low + high):
            share = float(np.mean(~np.isfinite(samples)))
            note = Note(code="no-value-in-resamples", value=share) if share else Note(code="no-bias-correction")
            return undefined(n, self.method, note, *self.notes, pairs=self.pairs)
        return Estimate(value=value, low=low, high=high, n=n, method=self.method, notes=self.notes, pairs=self.pairs)


def evaluate(planned: Sequence[PendingEstimate | Estimate], how: Resampling) -> list[Estimate]:
    """Finish many estimates at once, in the order given; what is known already passes through."""
    pending = [one for one in planned if isinstance(one, PendingEstimate)]
    finished = finish(pending, resample([one.statistic for one in pending], how), how.level)
    return [next(finished) if isinstance(one, PendingEstimate) else one for one in planned]


def evaluate_each(planned: Sequence[PendingEstimate | Estimate], hows: Sequence[Resampling]) -> list[Estimate]:
    """Finish many estimates, each with its own resampling, those with the same resampling together."""
    found: dict[int, Estimate] = {}
    for how in dict.fromkeys(hows):
        here = [n for n, one in enumerate(hows) if one == how]
        found |= dict(zip(here, evaluate([planned[n] for n in here], how), strict=True))
    return [found[n] for n in range(len(planned))]


def finish(
    pending: Sequence[PendingEstimate], resampled: Iterator[list[tuple[float, Floats]]], level: float
) -> Iterator[Estimate]:
    """Estimates from resamples; intervals of all that were resampled together are computed at once."""
    first = 0
    for found in resampled:
        here = pending[first : first + len(found)]
        ends = percentile_ends(np.stack([samples for _, samples in found]), level)
        for n, (one, (value, samples)) in enumerate(zip(here, found, strict=True)):
            if one.ends == "bca" and math.isfinite(value) and np.isfinite(ends[n]).all():
                ends[n] = bca_ends(value, samples, one.statistic.leaving_one_out(), level)
            yield one.finish(value, samples, ends[n])
        first += len(found)
