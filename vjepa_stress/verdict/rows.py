"""Rows of a sample: the units of one source side by side, because units of one source are not independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.statistics.numerics.arrays import Floats


@dataclass(frozen=True)
class Rows:
    """The rows of a sample: one per source, ordered by stratum, then by the first unit of the source.

    Attributes:
        units: the unit of each place of each row; a slice if each row has one unit and the units are consecutive.
        strata: number of rows of each stratum.
        width: number of places of a row, which is the largest number of units of a source.
        padding: places without a unit; None if there are none.
    """

    units: slice | NDArray[np.int64]
    strata: tuple[int, ...]
    width: int = 1
    padding: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, kept: NDArray[np.bool_], source: NDArray[np.int64], stratum: NDArray[np.int64]) -> Rows:
        """Arrange units.

        Args:
            kept: (units,), the units that are arranged.
            source: (units,), number of the source of each unit, as in `Table.source`.
            stratum: (units,), number of the stratum of the unit's source.
        """
        units = np.flatnonzero(kept)
        units = units[np.lexsort((source[units], stratum[units]))]  # stable: units of a source keep their order
        first = np.ones(len(units), dtype=bool)
        first[1:] = np.diff(source[units]) != 0
        strata = tuple(np.unique(stratum[units[first]], return_counts=True)[1].tolist())
        if first.all():
            # A slice avoids a copy. Simulated studies read thousands of tables.
            consecutive = len(units) > 0 and bool((np.diff(units) == 1).all())
            return cls(slice(int(units[0]), int(units[-1]) + 1) if consecutive else units, strata)
        sizes = np.bincount(first.cumsum() - 1)
        padding = np.arange(sizes.max()) >= sizes[:, None]
        places = np.zeros(padding.shape, dtype=np.int64)
        places[~padding] = units
        return cls(places.ravel(), strata, int(sizes.max()), padding.ravel() if padding.any() else None)

    def order(self, rank: NDArray[np.int64]) -> NDArray[np.int64]:
        """The order of the rows by the ranks of their sources.

        Args:
            rank: (units,), rank of the source of each unit.
        """
        units = np.arange(len(rank))[self.units]
        return np.argsort(rank[units[:: self.width]], kind="stable")

    def arrange(self, values: Floats) -> Floats:
        """Values of shape (units, cells) as (rows, width · cells); NaN in padding.

        A row has all cells of the first unit of its source, then all cells of the second unit, and so on.
        """
        # A compact copy: sums of a view can differ in the last digit.
        return self._widen(values[self.units].copy() if isinstance(self.units, slice) else values[self.units])

    def arrange_columns(self, values: Floats, columns: NDArray[np.int64]) -> Floats:
        """The same for some columns of the values."""
        return self._widen(values[self.units][:, columns])

    def _widen(self, places: Floats) -> Floats:
        if self.width == 1:
            return places
        if self.padding is not None:
            places[self.padding] = np.nan
        return places.reshape(-1, self.width * places.shape[1])
