"""Simulated tables of shards: units drawn from a scenario of the authors, or from a pilot study."""

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
"""Normal scores of the tabulated quantiles. Other quantiles are interpolated."""


class World(Protocol):
    """A source of simulated units."""

    skeleton: Table

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study, with the cells and units of `skeleton`."""
        ...


def skeleton(design: Design, cells: Iterable[Cell]) -> Table:
    """A table without values: the given cells, and the registered numbers of units and sources of their strata.

    Units are distributed evenly over the sources of their stratum.
    """
    ordered = tuple(sorted(set(cells), key=Cell.order))
    units = [(name, n) for name in design.strata(ordered) for n in range(design.count_units(name))]
    present = np.array([[design.stratum(cell) == name for cell in ordered] for name, _ in units], dtype=bool)
    sources = [(name, n * design.count_sources(name) // design.count_units(name)) for name, n in units]
    unit_keys, source_keys = (tuple(f"{name} {n:09}" for name, n in numbered) for numbered in (units, sources))
    return Table(ordered, unit_keys, {}, present, source_keys)


@dataclass(frozen=True)
class _Block:
    """Cells of one stratum that need the same metrics.

    Attributes:
        columns: columns of the cells in the table.
        metrics: indices of the metrics in the scenario.
        mixing: (metrics, metrics), transforms independent scores to associated scores.
        table: (cells · metrics, scores), values at the tabulated scores.
    """

    columns: NDArray[np.int64]
    metrics: tuple[int, ...]
    mixing: Floats
    table: Floats


class GivenWorld:
    """Units drawn from a scenario of the authors."""

    def __init__(
        self, name: str, scenario: Given, design: Design, needed: Sequence[tuple[Cell, frozenset[str]]]
    ) -> None:
        """Tabulate the quantiles of all metrics in all cells that are needed.

        Args:
            name: name of the scenario.
            scenario: distributions of the metrics.
            design: the design, which has the ranges of the metrics.
            needed: the metrics that are needed in each cell.

        Raises:
            BadDocument: when the scenario does not describe a metric that is needed, or describes an impossible
                distribution.
        """
        self.skeleton = skeleton(design, [cell for cell, _ in needed])
        self.metrics = tuple(sorted({metric for _, metrics in needed for metric in metrics}))
        known = set(scenario.within_clip)
        for metric in self.metrics:
            if metric not in known:
                raise BadDocument(
                    f"scenario {name}: `within_clip` has no value for {metric}",
                    found=sorted(known),
                    fix=f"add to `within_clip` of the scenario: {metric}: VALUE, from 0 to 1",
                )
        within = np.array([scenario.within_clip[metric] for metric in self.metrics])
        self.shared, self.own = np.sqrt(within), np.sqrt(1 - within)
        self.mixing = _mixing(name, scenario, self.metrics)
        effects = _Effects(name, scenario, design)
        grouped: dict[tuple[str, frozenset[str]], list[Cell]] = {}
        for cell, metrics in needed:
            grouped.setdefault((design.stratum(cell), metrics), []).append(cell)
        self.blocks: dict[str, list[_Block]] = {}
        for (stratum, metrics), cells in sorted(grouped.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
            indices = tuple(n for n, metric in enumerate(self.metrics) if metric in metrics)
            quantiles = [effects.quantiles(self.metrics[index], cell) for cell in cells for index in indices]
            mixing = _root(self.mixing[np.ix_(indices, indices)])
            block = _Block(self.skeleton.columns(cells), indices, mixing, np.array(quantiles))
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
                metrics = list(block.metrics)
                own = chance.standard_normal((len(rows), len(block.columns), len(metrics)))
                if len(metrics) > 1:
                    own = own @ block.mixing
                scores = own * self.own[metrics] + (unit[:, metrics] * self.shared[metrics])[:, None, :]
                drawn = _interpolate(block.table, scores.reshape(len(rows), -1)).reshape(scores.shape)
                for n, index in enumerate(metrics):
                    values[self.metrics[index]][rows[0] : rows[-1] + 1, block.columns] = drawn[:, :, n]
        return Table(self.skeleton.cells, self.skeleton.units, values, self.skeleton.present)


class PilotWorld:
    """Units of another study, drawn with replacement. All cells and columns of a unit stay together."""

    def __init__(self, name: str, pilot: Table, design: Design, cells: Iterable[Cell]) -> None:
        """Select the cells from the pilot.

        Raises:
            BadDocument: when the pilot lacks a cell.
        """
        self.skeleton = skeleton(design, cells)
        missing = [str(cell) for cell in self.skeleton.cells if cell not in pilot.cells]
        if missing:
            raise BadDocument(
                f"scenario {name}: the pilot lacks {len(missing)} cells that the estimands need",
                found=f"missing: {', '.join(missing[:3])}",
                fix="run a pilot with these cells, or use a scenario of kind `given`",
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
    """The effects of a scenario, by metric and cell."""

    def __init__(self, name: str, scenario: Given, design: Design) -> None:
        self.name, self.design, self.tables = name, design, dict[tuple[str, float, float], Floats]()
        # The last effect on a cell is used.
        self.by_cell = {
            (effect.metric, cell): effect for effect in scenario.effects for cell in design.select(effect.where)
        }

    def quantiles(self, metric: str, cell: Cell) -> Floats:
        """Values of a metric in a cell at the tabulated scores."""
        effect = self.by_cell.get((metric, cell))
        if effect is None:
            raise BadDocument(
                f"scenario {self.name} has no effect for {metric} in {cell}",
                fix="add an effect; write general effects first, because the last effect on a cell is used",
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
                f"scenario {self.name}: {metric} in {cell} has an impossible mean or standard deviation",
                expected=f"a mean inside [{low:g}, {high:g}], and a standard deviation that this range allows",
                found=f"mean {mean:g}, sd {sd:g}",
                fix="change `mean` (and `slope`), or use a smaller `sd`",
            )
        concentration = share * (1 - share) / spread - 1
        quantiles = special.betaincinv(share * concentration, (1 - share) * concentration, special.ndtr(_SCORES))
        values: Floats = low + width * quantiles
        return values


def _mixing(name: str, scenario: Given, metrics: Sequence[str]) -> Floats:
    """Correlation matrix of the normal scores of the metrics."""
    correlations = np.eye(len(metrics))
    for pair in scenario.associations:
        if pair.x in metrics and pair.y in metrics and pair.x != pair.y:
            x, y = metrics.index(pair.x), metrics.index(pair.y)
            correlations[x, y] = correlations[y, x] = pair.r
    if np.linalg.eigvalsh(correlations).min() < -1e-9:
        raise BadDocument(
            f"scenario {name}: the associations are impossible: their matrix is not positive semidefinite",
            found=scenario.associations,
            fix="use smaller correlations, or remove an association",
        )
    return correlations


def _root(correlations: Floats) -> Floats:
    """Symmetric square root of a correlation matrix. Independent scores times the root have these correlations."""
    values, vectors = np.linalg.eigh(correlations)
    root: Floats = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _interpolate(table: Floats, scores: Floats) -> Floats:
    """Values at scores of shape (units, columns), by linear interpolation in the table of each column."""
    position = (scores - _SCORES[0]) * ((len(_SCORES) - 1) / (_SCORES[-1] - _SCORES[0]))
    position = position.clip(0, len(_SCORES) - 1 - 1e-9)
    under = position.astype(np.int64)
    flat, first = table.ravel(), under + np.arange(table.shape[0]) * table.shape[1]
    below = flat[first]
    values: Floats = below + (position - under) * (flat[first + 1] - below)
    return values
