"""Spearman correlation of two metrics over (unit, cell) pairs, with a bootstrap over units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from vjepa_stress.statistics.base import Resampled, Sample
from vjepa_stress.statistics.base_correlation import Correlation
from vjepa_stress.statistics.numerics.arrays import as_table, paired, rows_by_unit
from vjepa_stress.statistics.numerics.complete import note_of_pairs
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, of_resamples, undefined
from vjepa_stress.statistics.numerics.ranks import spearman_rho
from vjepa_stress.statistics.numerics.resample import Resampling, expanded, percentile_ends, unit_counts


class Spearman(Correlation):
    """Spearman correlation of two metrics over all (unit, cell) pairs of a filter; bootstrap over whole units."""

    words: ClassVar[Mapping[str, str]] = {
        **Correlation.words,
        "name": "Spearman correlation",
        "of": "Spearman correlation of {x} with {y}",
        "over": "Spearman correlation of {x} with {y} over {where}",
    }

    statistic: Literal["spearman"]
    interval: Resampled = "expanded"

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Compute it with a bootstrap over units. Ranks do not depend on means, so it cannot be pending."""
        return _spearman(sample.parts[0], sample.parts[1], how, sample.strata)


def spearman(
    x: ArrayLike, y: ArrayLike, how: Resampling | None = None, *, clips: ArrayLike | None = None
) -> Estimate:
    """Spearman correlation over (unit, cell) pairs, with mid-ranks for ties, and a bootstrap over units.

    Args:
        x, y: (units,) or (units, cells), of the same shape; or (pairs,) with `clips`. NaN for missing values.
        how: level, resamples and seed.
        clips: (pairs,), the unit of each pair.
    """
    note = note_of_pairs(x, y)
    if clips is not None:
        x, y = rows_by_unit(clips, x, y)
    return _spearman(x, y, how or Resampling()).noted(note)


def _spearman(x: ArrayLike, y: ArrayLike, how: Resampling, strata: tuple[int, ...] = ()) -> Estimate:
    left, right = paired(as_table(x), as_table(y))
    unit, cell = np.nonzero(np.isfinite(left))
    units, pairs = left.shape[0], len(unit)
    if pairs < 3 or units < 2:
        return undefined(units, "expanded", Note(code="too-few-pairs" if pairs < 3 else "too-few-units"), pairs=pairs)
    left, right = left[unit, cell][None], right[unit, cell][None]
    value = float(spearman_rho(left, right)[0])
    if not math.isfinite(value):
        return undefined(units, "expanded", Note(code="constant"), pairs=pairs)
    samples = spearman_rho(left, right, unit_counts(units, how.resamples, how.seed, strata)[:, unit])
    ends = percentile_ends(samples, expanded(how.level, units, len(strata) or 1))
    return of_resamples(value, samples, ends, units, "expanded", pairs=pairs)
