"""An estimand put to a table: which of its columns it reads, and which rows of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.prereg.document import VideoDesign
from vjepa_stress.prereg.rules import (
    Difference,
    Estimand,
    Jumps,
    Maximum,
    Mean,
    Pearson,
    RatioOfMeans,
    Spearman,
    Trend,
    Where,
    filters,
    metrics,
)
from vjepa_stress.verdict.answer import Asked, Estimate, answer, undefined
from vjepa_stress.verdict.estimate import (
    ask_difference,
    ask_mean,
    ask_pearson,
    ask_ratio,
    ask_trend,
    jumps,
    maximum,
    spearman,
)
from vjepa_stress.verdict.resample import Resampling
from vjepa_stress.verdict.table import Floats, Table


@dataclass(frozen=True)
class Question:
    """An estimand, ready to be put to tables that have the same cells.

    Attributes:
        estimand: what is asked.
        parts: for each of its filters the filter and the table's columns it selects.
        strengths: of the columns that the first filter selects; 0 for a probe.
        clips: which clips the table has in every part (for jumps, in any), and
        present: in which cells; most tables put to a question have the same.
    """

    estimand: Estimand
    parts: tuple[tuple[Where, NDArray[np.int64]], ...]
    strengths: tuple[float, ...]
    clips: slice | NDArray[np.bool_]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, estimand: Estimand, table: Table, design: VideoDesign) -> Question:
        """Find an estimand's columns.

        Raises:
            KeyError: when the table lacks one of its cells.
        """
        chosen = [(where, design.select(where)) for where in filters(estimand)]
        strengths = tuple(cell.strength or 0.0 for cell in chosen[0][1])
        parts = tuple((where, table.columns(cells)) for where, cells in chosen)
        every = np.logical_or if isinstance(estimand, Jumps) else np.logical_and
        seen = every.reduce([table.present[:, columns].any(1) for _, columns in parts])
        return cls(estimand, parts, strengths, _rows(seen), table.present)

    def put(self, table: Table, how: Resampling, *, strict: bool) -> Asked | Estimate:
        """Read the table.

        Args:
            strict: an undefined clip value makes the estimate undefined; else the clip is left out where it is.
        """
        names = metrics(self.estimand)
        if self._is_whole(table, names):
            values = [table.values[name][self.clips][:, columns] for _, columns in self.parts for name in names]
            return self._ask(values, how)
        read = [_read(table, names, where, columns) for where, columns in self.parts]
        holes = sum(missing for _, _, missing in read)
        if strict and holes:
            note = f"{' or '.join(names)} is undefined for {holes} clip values"
            return undefined(0, self.estimand.statistic, note)
        values = [part for parts, _, _ in read for part in parts]
        if not isinstance(self.estimand, Jumps):
            # Clips without any value in these cells (those of other data sets) are no observations of the estimand.
            rows = functools.reduce(np.logical_and, [seen for _, seen, _ in read])
            values = [part[rows] for part in values]
        asked = self._ask(values, how)
        if not holes:
            return asked
        note = f"{holes} undefined clip values left out"
        if isinstance(asked, Asked):
            return Asked(asked.statistic, asked.method, asked.ends, note)
        return asked.model_copy(update={"note": f"{asked.note}; {note}" if asked.note else note})

    def _is_whole(self, table: Table, names: Sequence[str]) -> bool:
        """Whether every clip is seen where it was when the question was made, without a hole or a filter of rows."""
        return table.present is self.present and not any(
            where.rows or table.lacks(name, columns) for where, columns in self.parts for name in names
        )

    def _ask(self, values: list[Floats], how: Resampling) -> Asked | Estimate:
        asked = self.estimand
        if isinstance(asked, Mean):
            return ask_mean(values[0], asked.interval)
        if isinstance(asked, RatioOfMeans):
            return ask_ratio(values[0], values[1], asked.interval)
        if isinstance(asked, Difference):
            return ask_difference(values[0], values[1], asked.interval)
        if isinstance(asked, Trend):
            return ask_trend(values[0], self.strengths, asked.interval)
        if isinstance(asked, Pearson):
            return ask_pearson(values[0], values[1], how.level, asked.interval)
        if isinstance(asked, Spearman):
            return spearman(values[0], values[1], how)
        if isinstance(asked, Jumps):
            return jumps(values, how)
        if isinstance(asked, Maximum):
            return maximum(values[0])
        raise TypeError(f"no such statistic: {asked!r}")


def _rows(seen: NDArray[np.bool_]) -> slice | NDArray[np.bool_]:
    """Rows that are seen; those of one data set lie together, and need no copy."""
    places = np.flatnonzero(seen)
    together = len(places) > 0 and places[-1] - places[0] == len(places) - 1
    return slice(int(places[0]), int(places[-1]) + 1) if together else seen


def _read(
    table: Table, names: Sequence[str], where: Where, columns: NDArray[np.int64]
) -> tuple[list[Floats], NDArray[np.bool_], int]:
    """Values of each metric, (clips, cells), NaN where a row is filtered out; clips with any; how many are undefined.

    A pair of metrics is undefined where one of them is.
    """
    values = [table.values[name][:, columns] for name in names]
    present = table.present[:, columns]
    defined = np.logical_and.reduce([np.isfinite(part) for part in values])
    if where.rows:
        fulfilled = table.fulfils(where.rows, columns)
        present = present & (fulfilled != 0)  # nobody can say of a row without the value whether it belongs
        values = [np.where(fulfilled == 1, part, np.nan) for part in values]
        defined = defined & (fulfilled == 1)
    seen: NDArray[np.bool_] = defined.any(1)
    return values, seen, int((present & ~defined).sum())


def compute(estimand: Estimand, table: Table, design: VideoDesign, how: Resampling, *, strict: bool) -> Estimate:
    """Compute one estimand; see `Question.put`."""
    return answer([Question.of(estimand, table, design).put(table, how, strict=strict)], how)[0]
