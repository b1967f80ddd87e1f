"""Scenarios to tables of shards: clips drawn from a world that the authors, or a pilot study, describe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import Cell, VideoDesign
from vjepa_stress.prereg.scenarios import Given
from vjepa_stress.verdict.table import Floats, Table

_SCORES = np.linspace(-6.0, 6.0, 385)
"""Normal scores where quantiles are tabulated; between them they are interpolated."""


class World(Protocol):
    """Where simulated clips come from."""

    skeleton: Table

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study; its cells and clips are those of `skeleton`."""
        ...


def skeleton(design: VideoDesign, cells: Iterable[Cell]) -> Table:
    """A table without values: some cells, and the registered number of clips of each of their data sets."""
    ordered = tuple(sorted(set(cells), key=Cell.order))
    datasets = sorted({cell.dataset for cell in ordered})
    clips = [(name, n) for name in datasets for n in range(design.datasets[name].n_clips)]
    present = np.array([[cell.dataset == name for cell in ordered] for name, _ in clips], dtype=bool)
    return Table(ordered, tuple(f"{name} {n:09}" for name, n in clips), {}, present)


@dataclass(frozen=True)
class _Block:
    """Cells of one data set that need the same metrics.

    Attributes:
        columns: where the cells stand in the table.
        metrics: which metrics they need, by their place in the scenario.
        mixing: (metrics, metrics), independent scores to associated ones.
        table: (cells · metrics, scores), the values at tabulated scores.
    """

    columns: NDArray[np.int64]
    metrics: tuple[int, ...]
    mixing: Floats
    table: Floats


class GivenWorld:
    """Clips as a scenario of the authors describes them."""

    def __init__(
        self, name: str, scenario: Given, design: VideoDesign, needed: Sequence[tuple[Cell, frozenset[str]]]
    ) -> None:
        """Tabulate the quantiles of every value that is needed.

        Args:
            name: of the scenario.
            scenario: what clips are like.
            design: which metric has which range.
            needed: which metrics are needed in which cells.

        Raises:
            BadDocument: when the scenario leaves open what is needed, or describes what cannot be.
        """
        self.skeleton = skeleton(design, [cell for cell, _ in needed])
        self.metrics = tuple(sorted({metric for _, metrics in needed for metric in metrics}))
        known = set(scenario.within_clip)
        for metric in self.metrics:
            if metric not in known:
                raise BadDocument(f"scenario {name}: `within_clip` says nothing of {metric}", found=sorted(known))
        within = np.array([scenario.within_clip[metric] for metric in self.metrics])
        self.shared, self.own = np.sqrt(within), np.sqrt(1 - within)
        self.mixing = _mixing(name, scenario, self.metrics)
        effects = _Effects(name, scenario, design)
        grouped: dict[tuple[str, frozenset[str]], list[Cell]] = {}
        for cell, metrics in needed:
            grouped.setdefault((cell.dataset, metrics), []).append(cell)
        self.blocks: dict[str, list[_Block]] = {}
        for (dataset, metrics), cells in sorted(grouped.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
            places = tuple(n for n, metric in enumerate(self.metrics) if metric in metrics)
            quantiles = [effects.quantiles(self.metrics[place], cell) for cell in cells for place in places]
            mixing = _root(self.mixing[np.ix_(places, places)])
            block = _Block(self.skeleton.columns(cells), places, mixing, np.array(quantiles))
            self.blocks.setdefault(dataset, []).append(block)
        self.rows = {
            dataset: np.flatnonzero(self.skeleton.present[:, blocks[0].columns[0]])
            for dataset, blocks in self.blocks.items()
        }
        self.clips_mixing = _root(self.mixing)

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        values = {metric: np.full(self.skeleton.present.shape, np.nan) for metric in self.metrics}
        for dataset, blocks in self.blocks.items():
            rows = self.rows[dataset]
            clip = chance.standard_normal((len(rows), len(self.metrics))) @ self.clips_mixing
            for block in blocks:
                here = list(block.metrics)
                own = chance.standard_normal((len(rows), len(block.columns), len(here)))
                if len(here) > 1:
                    own = own @ block.mixing
                scores = own * self.own[here] + (clip[:, here] * self.shared[here])[:, None, :]
                drawn = _interpolate(block.table, scores.reshape(len(rows), -1)).reshape(scores.shape)
                for n, place in enumerate(here):
                    values[self.metrics[place]][rows[0] : rows[-1] + 1, block.columns] = drawn[:, :, n]
        return Table(self.skeleton.cells, self.skeleton.clips, values, self.skeleton.present)


class PilotWorld:
    """Clips of another study, drawn whole with replacement: all cells and columns of a clip stay together."""

    def __init__(self, name: str, pilot: Table, design: VideoDesign, cells: Iterable[Cell]) -> None:
        """Find the cells in the pilot.

        Raises:
            BadDocument: when the pilot lacks a cell.
        """
        self.skeleton = skeleton(design, cells)
        missing = [str(cell) for cell in self.skeleton.cells if cell not in pilot.cells]
        if missing:
            raise BadDocument(
                f"scenario {name}: the pilot has {len(missing)} cells less than the estimands need",
                found=", ".join(missing[:3]),
                todo="describe the scenario yourself, or run a pilot with these cells",
            )
        columns = pilot.columns(self.skeleton.cells)
        self.present = pilot.present[:, columns]
        self.values = {metric: values[:, columns] for metric, values in pilot.values.items()}

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        shape = self.skeleton.present.shape
        values, present = {metric: np.full(shape, np.nan) for metric in self.values}, np.zeros(shape, dtype=bool)
        names = np.array([cell.dataset for cell in self.skeleton.cells])
        for dataset in sorted(set(names)):
            columns = np.flatnonzero(names == dataset)
            rows = np.flatnonzero(self.skeleton.present[:, columns[0]])
            clips = np.flatnonzero(self.present[:, columns].any(axis=1))
            drawn = clips[chance.integers(0, len(clips), len(rows))]
            present[np.ix_(rows, columns)] = self.present[np.ix_(drawn, columns)]
            for metric, part in values.items():
                part[np.ix_(rows, columns)] = self.values[metric][np.ix_(drawn, columns)]
        return Table(self.skeleton.cells, self.skeleton.clips, values, present)


class _Effects:
    """What a scenario says of each metric in each cell."""

    def __init__(self, name: str, scenario: Given, design: VideoDesign) -> None:
        self.name, self.design, self.tables = name, design, dict[tuple[str, float, float], Floats]()
        # The last effect about a cell holds.
        self.by_cell = {
            (effect.metric, cell): effect for effect in scenario.effects for cell in design.select(effect.where)
        }

    def quantiles(self, metric: str, cell: Cell) -> Floats:
        """Values at the tabulated scores."""
        effect = self.by_cell.get((metric, cell))
        if effect is None:
            raise BadDocument(
                f"scenario {self.name} says nothing of {metric} in {cell}",
                todo="add an effect, or a wide one before those it has: the last one about a cell holds",
            )
        key = (metric, effect.mean + effect.slope * (cell.strength or 0.0), effect.sd)
        if key not in self.tables:
            self.tables[key] = self._beta(*key, str(cell))
        return self.tables[key]

    def _beta(self, metric: str, mean: float, sd: float, cell: str) -> Floats:
        low, high = self.design.columns[metric].range
        width = high - low
        share, spread = (mean - low) / width, (sd / width) ** 2
        if sd == 0 and 0 <= share <= 1:
            return np.full(len(_SCORES), mean)
        if not 0 < share < 1 or spread >= share * (1 - share):
            raise BadDocument(
                f"scenario {self.name}: {metric} in {cell} cannot be like that",
                expected=f"a mean inside [{low:g}, {high:g}], and a spread that leaves values in there",
                found=f"mean {mean:g}, sd {sd:g}",
            )
        concentration = share * (1 - share) / spread - 1
        quantiles = special.betaincinv(share * concentration, (1 - share) * concentration, special.ndtr(_SCORES))
        values: Floats = low + width * quantiles
        return values


def _mixing(name: str, scenario: Given, metrics: Sequence[str]) -> Floats:
    """Correlations of normal scores between metrics."""
    correlations = np.eye(len(metrics))
    for pair in scenario.associations:
        if pair.x in metrics and pair.y in metrics and pair.x != pair.y:
            x, y = metrics.index(pair.x), metrics.index(pair.y)
            correlations[x, y] = correlations[y, x] = pair.r
    if np.linalg.eigvalsh(correlations).min() < -1e-9:
        raise BadDocument(f"scenario {name}: no metrics can be associated like that", found=scenario.associations)
    return correlations


def _root(correlations: Floats) -> Floats:
    """The symmetric square root: independent scores times it have these correlations."""
    values, vectors = np.linalg.eigh(correlations)
    root: Floats = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _interpolate(table: Floats, scores: Floats) -> Floats:
    """Values at scores, (clips, columns), from what is tabulated for each column."""
    place = (scores - _SCORES[0]) * ((len(_SCORES) - 1) / (_SCORES[-1] - _SCORES[0]))
    place = place.clip(0, len(_SCORES) - 1 - 1e-9)
    under = place.astype(np.int64)
    flat, first = table.ravel(), under + np.arange(table.shape[0]) * table.shape[1]
    below = flat[first]
    values: Floats = below + (place - under) * (flat[first + 1] - below)
    return values
