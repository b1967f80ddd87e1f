"""The shards of a study as one table of clips by cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vjepa_stress.prereg.document import Cell

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Values of every metric column, one row a clip and one column a cell.

    Attributes:
        cells: the cells, in the design's order.
        clips: clip digests, sorted; the union over data sets.
        values: for each metric, (clips, cells) with NaN where undefined or where a clip is of another data set.
        present: (clips, cells), whether the shard of the cell has a row for the clip.
    """

    cells: tuple[Cell, ...]
    clips: tuple[str, ...]
    values: Mapping[str, Floats]
    present: NDArray[np.bool_]

    @classmethod
    def of(
        cls, shards: Mapping[Cell, pa.Table], columns: Sequence[str], excluded: frozenset[str] = frozenset()
    ) -> Table:
        """Assemble shards; the order of their rows does not matter.

        Args:
            columns: metric columns to read.
            excluded: clips that no estimate may use.
        """
        cells = tuple(sorted(shards, key=Cell.order))
        by_cell = [shards[cell]["clip"].to_pylist() for cell in cells]
        clips = tuple(sorted({clip for names in by_cell for clip in names} - excluded))
        position = {clip: number for number, clip in enumerate(clips)}
        present = np.zeros((len(clips), len(cells)), dtype=bool)
        values = {name: np.full((len(clips), len(cells)), np.nan) for name in columns}
        for column, (cell, names) in enumerate(zip(cells, by_cell, strict=True)):
            kept = [number for number, clip in enumerate(names) if clip in position]
            rows = [position[names[number]] for number in kept]
            present[rows, column] = True
            for name in columns:
                values[name][rows, column] = shards[cell][name].to_numpy(zero_copy_only=False)[kept]
        return cls(cells, clips, values, present)

    def take(self, metric: str, cells: Sequence[Cell]) -> tuple[Floats, NDArray[np.bool_]]:
        """Values (clips, cells) of a metric in some cells, and which of them should exist."""
        columns = [self.cells.index(cell) for cell in cells]
        return self.values[metric][:, columns], self.present[:, columns]
