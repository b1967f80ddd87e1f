"""What an estimand comes to: an estimate, or all of one but its resamples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vjepa_stress.verdict.resample import Ends, OfMeans, Resampling, bca_ends, percentile_ends, resample
from vjepa_stress.verdict.table import Floats

Finite = Annotated[float, Field(allow_inf_nan=False)]


NAMES: dict[Ends, str] = {"percentile": "percentile bootstrap", "bca": "BCa bootstrap"}
"""What the two bootstraps are called."""


class Step(BaseModel):
    """What a metric gains from one model to another.

    Attributes:
        value: mean of the second model minus mean of the first, each over its own clips.
        half_width: both means' half-widths pooled, √(h₁² + h₂²).
        low, high: the paired interval, over the clips that both have; null for fewer than two.
        n: clips that both have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Finite
    half_width: Finite
    low: Finite | None
    high: Finite | None
    n: int


class Estimate(BaseModel):
    """A number with its interval.

    Attributes:
        value: the estimate, null where undefined.
        low, high: ends of the interval; both equal `value` where the statistic has no sampling interval.
        n: what the interval takes for independent: clips, or pairs for a Fisher interval.
        method: how value and interval were computed.
        note: why it is undefined, or what was left out.
        steps: of `jumps`, each model against the one before.
        overall: of `jumps`, the last model against the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Finite | None
    low: Finite | None
    high: Finite | None
    n: int
    method: str
    note: str = ""
    # Left out of files where they say nothing, so that verdicts written before them stay what they are.
    steps: tuple[Step, ...] = Field(default=(), exclude_if=lambda steps: not steps)
    overall: Step | None = Field(default=None, exclude_if=lambda step: step is None)

    @property
    def defined(self) -> bool:
        """Whether a rule can read it."""
        return self.value is not None and self.low is not None and self.high is not None


def undefined(n: int, method: str, note: str) -> Estimate:
    """An estimate that no rule can read."""
    return Estimate(value=None, low=None, high=None, n=n, method=method, note=note)


@dataclass(frozen=True)
class Asked:
    """An estimate that only lacks its resamples.

    Attributes:
        statistic: what is resampled.
        method: what is computed, with a place for the name of the bootstrap.
        ends: how its interval ends.
        note: what was left out.
    """

    statistic: OfMeans
    method: str
    ends: Ends
    note: str = ""

    def point(self) -> Estimate:
        """The estimate without an interval, for rules that read none: both ends are the value."""
        n, value = self.statistic.clips, self.statistic.value()
        if not math.isfinite(value):
            return undefined(n, self.method.format("no interval"), "the statistic has no value on these clips")
        return Estimate(value=value, low=value, high=value, n=n, method=self.method.format("no interval"))

    def answer(self, value: float, samples: Floats, ends: Floats) -> Estimate:
        """The estimate, given the statistic, its resamples and their interval; undefined when one of them is."""
        n, method = self.statistic.clips, self.method.format(NAMES[self.ends])
        low, high = ends.tolist()
        if not math.isfinite(value):
            return undefined(n, method, "the statistic has no value on these clips")
        if not math.isfinite(low + high):
            share = float(np.mean(~np.isfinite(samples)))
            note = f"the statistic has no value on {share:.2%} of the resamples"
            return undefined(n, method, note if share else "the resamples allow no bias correction")
        return Estimate(value=value, low=low, high=high, n=n, method=method, note=self.note)


def answer(asked: Sequence[Asked | Estimate], how: Resampling) -> list[Estimate]:
    """Answer many at once, in the order given; what is known already passes through."""
    pending = [one for one in asked if isinstance(one, Asked)]
    answered = answers(pending, resample([one.statistic for one in pending], how), how.level)
    return [next(answered) if isinstance(one, Asked) else one for one in asked]


def answer_each(asked: Sequence[Asked | Estimate], hows: Sequence[Resampling]) -> list[Estimate]:
    """Answer many, each in its own way, those together that have the same."""
    found: dict[int, Estimate] = {}
    for how in dict.fromkeys(hows):
        here = [n for n, one in enumerate(hows) if one == how]
        found |= dict(zip(here, answer([asked[n] for n in here], how), strict=True))
    return [found[n] for n in range(len(asked))]


def answers(
    pending: Sequence[Asked], resampled: Iterator[list[tuple[float, Floats]]], level: float
) -> Iterator[Estimate]:
    """Estimates from resamples, intervals of all that were resampled together at once."""
    first = 0
    for found in resampled:
        here = pending[first : first + len(found)]
        ends = percentile_ends(np.stack([samples for _, samples in found]), level)
        for n, (one, (value, samples)) in enumerate(zip(here, found, strict=True)):
            if one.ends == "bca" and math.isfinite(value) and np.isfinite(ends[n]).all():
                ends[n] = bca_ends(value, samples, one.statistic.leaving_one_out(), level)
            yield one.answer(value, samples, ends[n])
        first += len(found)
