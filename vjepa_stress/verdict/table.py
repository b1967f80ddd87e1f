"""The shards of a study as one table of units by cells."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vjepa_stress.design import Cell, Condition, Design
from vjepa_stress.errors import BadInput
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.verdict.rows import Rows


@dataclass(frozen=True)
class Table:
    """Values of all numeric shard columns, with one row per unit and one column per cell.

    Attributes:
        cells: the cells, in the order of the design.
        units: keys of the units (clip digests in a video design), sorted; the union over strata.
        values: for each shard column, (units, cells); NaN if undefined or if the unit is of another stratum. True is
            1, false is 0.
        present: (units, cells), whether the shard of the cell has a row for the unit.
        sources: key of the source of each unit; if not given, each unit is its own source.
    """

    cells: tuple[Cell, ...]
    units: tuple[str, ...]
    values: Mapping[str, Floats]
    present: NDArray[np.bool_]
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """By default each unit is its own source."""
        if not self.sources:
            object.__setattr__(self, "sources", self.units)

    @classmethod
    def of(
        cls,
        shards: Mapping[Cell, pa.Table],
        columns: Sequence[str],
        unit: str = "clip",
        excluded: frozenset[str] = frozenset(),
        sources: Mapping[str, str] | None = None,
    ) -> Table:
        """Assemble shards. The order of their rows has no effect.

        Args:
            shards: shards by cell.
            columns: metric columns. Counts and flags of the shards are also read.
            unit: name of the key column of rows.
            excluded: units that are left out.
            sources: unit → source; a unit that is not listed is its own source.
        """
        cells = tuple(sorted(shards, key=Cell.order))
        by_cell = [shards[cell][unit].to_pylist() for cell in cells]
        units = tuple(sorted({name for names in by_cell for name in names} - excluded))
        position = {name: number for number, name in enumerate(units)}
        present = np.zeros((len(units), len(cells)), dtype=bool)
        numeric = {
            field.name: None
            for shard in shards.values()
            for field in shard.schema
            if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
        }
        values = {name: np.full((len(units), len(cells)), np.nan) for name in (*columns, *numeric)}
        for column, (cell, names) in enumerate(zip(cells, by_cell, strict=True)):
            kept = [number for number, name in enumerate(names) if name in position]
            rows = [position[names[number]] for number in kept]
            present[rows, column] = True
            for name in values:
                if name in columns or name in shards[cell].column_names:
                    numbers = shards[cell][name].to_numpy(zero_copy_only=False).astype(np.float64)
                    values[name][rows, column] = numbers[kept]
        return cls(cells, units, values, present, tuple((sources or {}).get(name, name) for name in units))

    def take(self, metric: str, cells: Sequence[Cell]) -> tuple[Floats, NDArray[np.bool_]]:
        """Values of a metric in some cells, (units, cells), and `present` of these cells."""
        columns = self.columns(cells)
        return self.values[metric][:, columns], self.present[:, columns]

    @functools.cached_property
    def source(self) -> NDArray[np.int64]:
        """Number of the source of each unit; sources are numbered in the order of their first units."""
        number = {name: n for n, name in enumerate(dict.fromkeys(self.sources))}
        return np.array([number[name] for name in self.sources], dtype=np.int64)

    def rows(self, kept: NDArray[np.bool_], columns: NDArray[np.int64], design: Design) -> Rows:
        """Arrange the kept units by the source and by the stratum of the given cells; see `stratum`."""
        return Rows.of(kept, self.source, self.stratum(columns, design))

    def stratum(self, columns: NDArray[np.int64], design: Design) -> NDArray[np.int64]:
        """Number of the stratum of each unit's source, (units,), among the strata of some cells.

        A source with units in several strata counts in the first one.

        Args:
            columns: column indices of the cells.
            design: the design, which knows the stratum of a cell.
        """
        names = [design.stratum(self.cells[column]) for column in columns]
        order = {name: n for n, name in enumerate(sorted(set(names)))}
        number = np.array([order[name] for name in names], dtype=np.int64)
        of_unit = np.where(self.present[:, columns], number, len(order))
        of_source = np.full(len(self.units), len(order))
        np.minimum.at(of_source, self.source, of_unit.min(axis=1, initial=len(order)))
        return of_source[self.source]

    def only(self, kept: NDArray[np.bool_]) -> Table:
        """The table with some of its units."""
        rows = np.flatnonzero(kept).tolist()
        return dataclasses.replace(
            self,
            units=tuple(self.units[n] for n in rows),
            sources=tuple(self.sources[n] for n in rows),
            present=self.present[kept],
            values={name: part[kept] for name, part in self.values.items()},
        )

    @functools.cached_property
    def _position(self) -> dict[Cell, int]:
        return {cell: number for number, cell in enumerate(self.cells)}

    def columns(self, cells: Sequence[Cell]) -> NDArray[np.int64]:
        """Column indices of some cells."""
        return np.array([self._position[cell] for cell in cells], dtype=np.int64)

    @functools.cached_property
    def _holes(self) -> dict[str, NDArray[np.bool_]]:
        return {}

    def lacks(self, metric: str, columns: NDArray[np.int64]) -> bool:
        """Whether a metric is undefined for a unit that is present in one of the columns."""
        if metric not in self._holes:
            self._holes[metric] = np.logical_or.reduce(self.present & np.isnan(self.values[metric]), axis=0)
        holes = self._holes[metric]
        return bool(holes.any() and holes[columns].any())

    def fulfils(self, conditions: Sequence[Condition], columns: NDArray[np.int64]) -> Floats:
        """Whether the rows of some cells meet all conditions.

        Returns:
            (units, cells): 1 or 0, and NaN where the column of a condition is undefined.
        """
        fulfilled = np.ones((len(self.units), len(columns)))
        for condition in conditions:
            fulfilled *= self._fulfils(condition, columns)
        return fulfilled

    def _fulfils(self, condition: Condition, columns: NDArray[np.int64]) -> Floats:
        if isinstance(condition.equals, str):
            named = np.array([unit == condition.equals for unit in self.units], dtype=np.float64)
            return np.repeat(named[:, None], len(columns), axis=1)
        values = self.values[condition.column][:, columns]
        inside = np.ones_like(values, dtype=bool)
        if condition.equals is not None:
            inside &= values == float(condition.equals)
        if condition.at_least is not None:
            inside &= values >= condition.at_least
        if condition.at_most is not None:
            inside &= values <= condition.at_most
        return np.where(np.isnan(values), np.nan, inside)


def by_group(long: Any, *, clip: str, group: str, value: str) -> dict[Any, Floats]:
    """Convert a long table to arrays for the statistics: the values of each group, in the same order of clips.

    Args:
        long: a pyarrow Table, a pandas DataFrame, or another object that Arrow can convert to a table.
        clip, group, value: names of its columns. A clip has at most one row per group.

    Returns:
        For each group an array (clips,), sorted by clip; NaN if a clip has no row or no value in the group.

    Raises:
        BadInput: when a column is missing, a value is not a number, or a clip has two rows in a group.
    """
    table = long if isinstance(long, pa.Table) else pa.table(long)
    missing = sorted({clip, group, value} - set(table.column_names))
    if missing:
        raise BadInput(
            "the table lacks columns",
            expected=", ".join(missing),
            found=", ".join(table.column_names),
            fix="pass the names of existing columns as clip, group and value",
        )
    keys = list(zip(table[group].to_pylist(), table[clip].to_pylist(), strict=True))
    duplicates = [key for key, count in Counter(keys).items() if count > 1]
    if duplicates:
        raise BadInput(
            "a clip has several rows in one group",
            found=f"{duplicates[0][1]!r} in {duplicates[0][0]!r}",
            fix="aggregate the rows, or use cluster_bootstrap",
        )
    try:
        numbers = table[value].cast(pa.float64()).to_pylist()
    except pa.ArrowInvalid as error:
        raise BadInput(
            "values must be numbers", where=value, found=str(error), fix="convert the column to numbers"
        ) from error
    known = dict(zip(keys, numbers, strict=True))
    clips = sorted({name for _, name in keys})
    return {
        name: np.array([known.get((name, key)) for key in clips], dtype=np.float64)
        for name in sorted({name for name, _ in keys})
    }
