"""The shards of a study as one table of units by cells."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vjepa_stress.design import Cell, Condition
from vjepa_stress.errors import BadInput
from vjepa_stress.statistics.numerics.arrays import Floats


@dataclass(frozen=True)
class Table:
    """Values of every shard column that holds numbers, one row a unit and one column a cell.

    Attributes:
        cells: the cells, in the design's order.
        units: keys of the units (in a video design clip digests), sorted; the union over strata.
        values: for each shard column, (units, cells) with NaN where undefined or where a unit is of another stratum;
            true is 1, false is 0.
        present: (units, cells), whether the shard of the cell has a row for the unit.
    """

    cells: tuple[Cell, ...]
    units: tuple[str, ...]
    values: Mapping[str, Floats]
    present: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        shards: Mapping[Cell, pa.Table],
        columns: Sequence[str],
        unit: str = "clip",
        excluded: frozenset[str] = frozenset(),
    ) -> Table:
        """Assemble shards; the order of their rows does not matter.

        Args:
            shards: by cell.
            columns: metric columns; counts and flags of the shards are read as well.
            unit: the column that rows are keyed by.
            excluded: units that no estimate may use.
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
        return cls(cells, units, values, present)

    def take(self, metric: str, cells: Sequence[Cell]) -> tuple[Floats, NDArray[np.bool_]]:
        """Values (units, cells) of a metric in some cells, and which of them should exist."""
        columns = self.columns(cells)
        return self.values[metric][:, columns], self.present[:, columns]

    @functools.cached_property
    def _position(self) -> dict[Cell, int]:
        return {cell: number for number, cell in enumerate(self.cells)}

    def columns(self, cells: Sequence[Cell]) -> NDArray[np.int64]:
        """Where some cells stand."""
        return np.array([self._position[cell] for cell in cells], dtype=np.int64)

    @functools.cached_property
    def _holes(self) -> dict[str, NDArray[np.bool_]]:
        return {}

    def lacks(self, metric: str, columns: NDArray[np.int64]) -> bool:
        """Whether a unit that some cells should have has no value of a metric there."""
        if metric not in self._holes:
            self._holes[metric] = np.logical_or.reduce(self.present & np.isnan(self.values[metric]), axis=0)
        holes = self._holes[metric]
        return bool(holes.any() and holes[columns].any())

    def fulfils(self, conditions: Sequence[Condition], columns: NDArray[np.int64]) -> Floats:
        """Which rows of some cells fulfil all conditions.

        Returns:
            (units, cells): 1 or 0, and NaN where a column that a condition needs is undefined.
        """
        answer = np.ones((len(self.units), len(columns)))
        for condition in conditions:
            answer *= self._fulfils(condition, columns)
        return answer

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
    """Turn anybody's long table into what estimates take: for each group the clips' values, in one order of clips.

    Args:
        long: a pyarrow Table, a pandas DataFrame, or anything else that Arrow can read as a table.
        clip, group, value: names of its columns; a clip has one row a group at most.

    Returns:
        (clips,) a group, rows sorted by clip, NaN where a clip has no row or no value in the group.

    Raises:
        BadInput: when a column is missing or not what it should be, or a clip stands twice in a group.
    """
    table = long if isinstance(long, pa.Table) else pa.table(long)
    missing = sorted({clip, group, value} - set(table.column_names))
    if missing:
        raise BadInput("the table lacks columns", expected=", ".join(missing), found=", ".join(table.column_names))
    keys = list(zip(table[group].to_pylist(), table[clip].to_pylist(), strict=True))
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise BadInput("a clip stands twice in a group", found=f"{twice[0][1]!r} in {twice[0][0]!r}")
    try:
        numbers = table[value].cast(pa.float64()).to_pylist()
    except pa.ArrowInvalid as error:
        raise BadInput("values must be numbers", where=value, found=str(error)) from error
    known = dict(zip(keys, numbers, strict=True))
    clips = sorted({name for _, name in keys})
    return {
        name: np.array([known.get((name, one)) for one in clips], dtype=np.float64)
        for name in sorted({name for name, _ in keys})
    }
