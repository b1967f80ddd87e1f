"""Scenarios to tables of shards: units drawn from a world that the authors, or a pilot study, describe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vjepa_stress.design import Cell, Design
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.scenarios import Given
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.verdict.table import Table

_SCORES = np.linspace(-6.0, 6.0, 385)
"""Normal scores where quantiles are tabulated; between them they are interpolated."""


class World(Protocol):
    """Where simulated units come from."""

    skeleton: Table

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study; its cells and units are those of `skeleton`."""
        ...


def skeleton(design: Design, cells: Iterable[Cell]) -> Table:
    """A table without values: some cells, and the registered number of units of each of their strata."""
    ordered = tuple(sorted(set(cells), key=Cell.order))
    units = [(name, n) for name in design.strata(ordered) for n in range(design.count_units(name))]
    present = np.array([[design.stratum(cell) == name for cell in ordered] for name, _ in units], dtype=bool)
    return Table(ordered, tuple(f"{name} {n:09}" for name, n in units), {}, present)


@dataclass(frozen=True)
class _Block:
    """Cells of one stratum that need the same metrics.

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
    """Units as a scenario of the authors describes them."""

    def __init__(
        self, name: str, scenario: Given, design: Design, needed: Sequence[tuple[Cell, frozenset[str]]]
    ) -> None:
        """Tabulate the quantiles of every value that is needed.

        Args:
            name: of the scenario.
            scenario: what units are like.
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
            grouped.setdefault((design.stratum(cell), metrics), []).append(cell)
        self.blocks: dict[str, list[_Block]] = {}
        for (stratum, metrics), cells in sorted(grouped.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
            places = tuple(n for n, metric in enumerate(self.metrics) if metric in metrics)
            quantiles = [effects.quantiles(self.metrics[place], cell) for cell in cells for place in places]
            mixing = _root(self.mixing[np.ix_(places, places)])
            block = _Block(self.skeleton.columns(cells), places, mixing, np.array(quantiles))
            self.blocks.setdefault(stratum, []).append(block)
        self.rows = {
            stratum: np.flatnonzero(self.skeleton.present[:, blocks[0].columns[0]])
            for stratum, blocks in self.blocks.items()
        }
        self.unit_mixing = _root(self.mixing)

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        values = {metric: np.full(self.skeleton.present.shape, np.nan) for metric in self.metrics}
        for stratum, blocks in self.blocks.items():
            rows = self.rows[stratum]
            unit = chance.standard_normal((len(rows), len(self.metrics))) @ self.unit_mixing
            for block in blocks:
                here = list(block.metrics)
                own = chance.standard_normal((len(rows), len(block.columns), len(here)))
                if len(here) > 1:
                    own = own @ block.mixing
                scores = own * self.own[here] + (unit[:, here] * self.shared[here])[:, None, :]
                drawn = _interpolate(block.table, scores.reshape(len(rows), -1)).reshape(scores.shape)
                for n, place in enumerate(here):
                    values[self.metrics[place]][rows[0] : rows[-1] + 1, block.columns] = drawn[:, :, n]
        return Table(self.skeleton.cells, self.skeleton.units, values, self.skeleton.present)


class PilotWorld:
    """Units of another study, drawn whole with replacement: all cells and columns of a unit stay together."""

    def __init__(self, name: str, pilot: Table, design: Design, cells: Iterable[Cell]) -> None:
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
                fix="describe the scenario yourself, or run a pilot with these cells",
            )
        columns = pilot.columns(self.skeleton.cells)
        self.present = pilot.present[:, columns]
        names = np.array([design.stratum(cell) for cell in self.skeleton.cells])
        self.strata = [np.flatnonzero(names == name) for name in sorted(set(names))]
        self.values = {metric: values[:, columns] for metric, values in pilot.values.items()}

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        shape = self.skeleton.present.shape
        values, present = {metric: np.full(shape, np.nan) for metric in self.values}, np.zeros(shape, dtype=bool)
        for columns in self.strata:
            rows = np.flatnonzero(self.skeleton.present[:, columns[0]])
            units = np.flatnonzero(self.present[:, columns].any(axis=1))
            drawn = units[chance.integers(0, len(units), len(rows))]
            present[np.ix_(rows, columns)] = self.present[np.ix_(drawn, columns)]
            for metric, part in values.items():
                part[np.ix_(rows, columns)] = self.values[metric][np.ix_(drawn, columns)]
        return Table(self.skeleton.cells, self.skeleton.units, values, present)


class _Effects:
    """What a scenario says of each metric in each cell."""

    def __init__(self, name: str, scenario: Given, design: Design) -> None:
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
                fix="add an effect, or a wide one before those it has: the last one about a cell holds",
            )
        level = float(cell[effect.along] or 0.0) if effect.along else 0.0
        key = (metric, effect.mean + effect.slope * level, effect.sd)
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
    """Values at scores, (units, columns), from what is tabulated for each column."""
    place = (scores - _SCORES[0]) * ((len(_SCORES) - 1) / (_SCORES[-1] - _SCORES[0]))
    place = place.clip(0, len(_SCORES) - 1 - 1e-9)
    under = place.astype(np.int64)
    flat, first = table.ravel(), under + np.arange(table.shape[0]) * table.shape[1]
    below = flat[first]
    values: Floats = below + (place - under) * (flat[first + 1] - below)
    return values
