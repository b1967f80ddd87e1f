"""Spread between the seeds of a perturbation, compared with the spread between clips.

It is a finding, not a verdict. A study with one seed relies on the random numbers of a perturbation mattering little
beside the choice of clips; a design with several seeds measures it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vjepa_stress.design import Cell
from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.verdict.table import Table


@dataclass(frozen=True)
class Spread:
    """Standard deviations between seeds and between clips, from a one-way analysis of variance.

    Attributes:
        between_seeds: for one clip, in units of the metric.
        between_clips: without the part that comes from seeds; 0 if seeds explain all.
        of_mean: of the cell's mean over clips, if another seed had been drawn.
        standard_error: of the cell's mean over clips, from the clips of one seed.
    """

    between_seeds: float
    between_clips: float
    of_mean: float
    standard_error: float


@dataclass(frozen=True)
class SeedSpread:
    """The spread of a metric in the cells of one perturbation.

    Attributes:
        column: the metric column.
        perturbation: name of the perturbation.
        seeds: number of seeds.
        cells: number of groups of cells that differ only in the seed.
        spread: root mean squares over those groups.
    """

    column: str
    perturbation: str
    seeds: int
    cells: int
    spread: Spread

    @property
    def share(self) -> float:
        """Share of the variance between measurements that comes from seeds, from 0 to 1."""
        seeds, clips = self.spread.between_seeds**2, self.spread.between_clips**2
        return seeds / (seeds + clips) if seeds + clips else 0.0


def analysed(values: Floats) -> Spread:
    """Spread of one cell's values.

    Args:
        values: (clips, seeds), finite; at least two of each.
    """
    clips, seeds = values.shape
    within = float(values.var(axis=1, ddof=1).mean())
    between = float(values.mean(axis=1).var(ddof=1))
    return Spread(
        between_seeds=math.sqrt(within),
        between_clips=math.sqrt(max(0.0, between - within / seeds)),
        of_mean=math.sqrt(within / clips),
        standard_error=math.sqrt(float(values.var(axis=0, ddof=1).mean()) / clips),
    )


def seed_spreads(table: Table, design: VideoDesign) -> tuple[SeedSpread, ...]:
    """The spread of each metric for each perturbation with two or more seeds; empty for a design with one seed.

    Clips without a value for one of the seeds are left out; so are cells with fewer than two clips.
    """
    return tuple(_found(table, design))


def _found(table: Table, design: VideoDesign) -> Iterator[SeedSpread]:
    known, groups = set(table.cells), dict[Cell, list[VideoCell]]()
    for cell in design.cells:
        if cell in known:
            groups.setdefault(cell.without("seed"), []).append(cell)
    several = [cells for cells in groups.values() if len(cells) > 1]
    for column in (name for name in design.columns if name in table.values):
        for perturbation in dict.fromkeys(cells[0].perturbation for cells in several):
            spreads, seeds = [], 0
            for cells in several:
                if cells[0].perturbation != perturbation:
                    continue
                values = table.take(column, cells)[0]
                values = values[np.isfinite(values).all(axis=1)]
                if len(values) > 1:
                    spreads.append(analysed(values))
                    seeds = max(seeds, len(cells))
            if spreads:
                yield SeedSpread(column, perturbation, seeds, len(spreads), _root_mean_square(spreads))


def _root_mean_square(spreads: list[Spread]) -> Spread:
    def over(name: str) -> float:
        return math.sqrt(sum(getattr(one, name) ** 2 for one in spreads) / len(spreads))

    return Spread(over("between_seeds"), over("between_clips"), over("of_mean"), over("standard_error"))
