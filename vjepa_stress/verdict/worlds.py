"""Simulated tables of shards: units drawn from a scenario of the authors, or from a pilot study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.sparse.csgraph import connected_components

from vjepa_stress.design import Cell, Design
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.scenarios import SOURCE, Given
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.verdict.dependence import cell_correlations, differing
from vjepa_stress.verdict.needed import Needed, columns_of
from vjepa_stress.verdict.table import Table

_SCORES = np.linspace(-6.0, 6.0, 385)
"""Normal scores of the tabulated quantiles. Other quantiles are interpolated."""


class World(Protocol):
    """A source of simulated units."""

    skeleton: Table

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study, with the cells and units of `skeleton`."""
        ...


def skeleton(design: Design, cells: Iterable[Cell], scale: float = 1.0) -> Table:
    """A table without values: the given cells, and the registered numbers of units and sources of their strata.

    Units are distributed evenly over the sources of their stratum.

    Args:
        design: the design.
        cells: the cells.
        scale: factor of the numbers of units and sources, for power curves.
    """
    ordered = tuple(sorted(set(cells), key=Cell.order))
    sizes = {name: scaled(design, name, scale) for name in design.strata(ordered)}
    units = [(name, n) for name, (count, _) in sizes.items() for n in range(count)]
    present = np.array([[design.stratum(cell) == name for cell in ordered] for name, _ in units], dtype=bool)
    sources = [(name, n * sizes[name][1] // sizes[name][0]) for name, n in units]
    keys, of = ([f"{name} {n:09}" for name, n in numbered] for numbered in (units, sources))
    return Table(ordered, tuple(keys), {}, present, tuple(of))


def scaled(design: Design, stratum: str, scale: float) -> tuple[int, int]:
    """Numbers of units and of sources of a stratum, times a factor."""
    units, sources = design.count_units(stratum), design.count_sources(stratum)
    return max(1, round(scale * units)), max(1, round(scale * sources))


class Effects(Protocol):
    """Mean and standard deviation of each metric in each cell."""

    def moments(self, metric: str, cell: Cell) -> tuple[float, float]:
        """Mean and standard deviation between units."""
        ...


@dataclass(frozen=True)
class _Part:
    """A metric in a block of cells.

    Attributes:
        metric: name of the metric.
        columns: columns in the table of the cells that need the metric.
        root: (cells of the block, columns), transforms independent scores to scores that depend as in the scenario.
        table: (columns, scores), values at the tabulated scores.
        source: square root of the correlation of two units of one source.
    """

    metric: str
    columns: NDArray[np.int64]
    root: Floats
    table: Floats
    source: float


@dataclass(frozen=True)
class _Block:
    """Metrics of one stratum that are associated with each other.

    Attributes:
        rows: rows of the units of the stratum.
        source: number of the source of each unit, from 0.
        mixing: (parts, parts), transforms independent scores to associated scores.
        parts: the metrics.
    """

    rows: NDArray[np.int64]
    source: NDArray[np.int64]
    mixing: Floats
    parts: tuple[_Part, ...]


class GivenWorld:
    """Units drawn from a scenario of the authors."""

    def __init__(
        self,
        name: str,
        scenario: Given,
        design: Design,
        needed: Needed,
        scale: float = 1.0,
        effects: Effects | None = None,
    ) -> None:
        """Tabulate the quantiles of all metrics in all cells that are needed.

        Args:
            name: name of the scenario.
            scenario: distributions of the metrics, their dependence and associations.
            design: the design, which has the ranges of the metrics.
            needed: the metrics that are needed in each cell.
            scale: factor of the numbers of units and sources.
            effects: replace the effects of the scenario.

        Raises:
            BadDocument: when the scenario does not describe a metric that is needed, or describes an impossible
                distribution.
        """
        self.skeleton = skeleton(design, needed, scale)
        self.metrics = columns_of(needed)
        self.name, self.scenario = name, scenario
        quantiles = _Quantiles(name, effects or GivenEffects(name, scenario, design), design)
        associated = _mixing(name, scenario, self.metrics)
        self.blocks = list[_Block]()
        for stratum in design.strata(self.skeleton.cells):
            here = [cell for cell in needed if design.stratum(cell) == stratum]
            rows = np.flatnonzero(self.skeleton.present[:, self.skeleton.columns([here[0]])[0]])
            source = np.unique(self.skeleton.source[rows], return_inverse=True)[1]
            for indices in _connected(associated):
                names = {self.metrics[index] for index in indices}
                cells = [cell for cell in here if needed[cell] & names]
                if not cells:
                    continue
                parts = []
                for index in indices:
                    metric = self.metrics[index]
                    own = [n for n, cell in enumerate(cells) if metric in needed[cell]]
                    table = np.array([quantiles.of(metric, cells[n]) for n in own]).reshape(len(own), len(_SCORES))
                    columns = self.skeleton.columns([cells[n] for n in own])
                    shared = self._shared(metric, is_shared=source.max() + 1 < len(rows))
                    parts.append(_Part(metric, columns, self._root(metric, cells)[:, own], table, shared))
                mixing = _root(associated[np.ix_(indices, indices)])
                self.blocks.append(_Block(rows, source, mixing, tuple(parts)))

    def _root(self, metric: str, cells: Sequence[Cell]) -> Floats:
        """Square root of the correlations between cells."""
        numbers = self._numbers(metric)
        for factor in differing(cells):
            if factor not in numbers:
                raise BadDocument(
                    f"scenario {self.name}: the dependence of {metric} has no value for {factor}",
                    found=sorted(numbers),
                    fix=f"add to `dependence` of {metric}: {factor}: VALUE, from 0 to 1: the correlation of one unit "
                    f"in two cells that differ only in {factor}",
                )
        return _root(cell_correlations(cells, numbers))

    def _shared(self, metric: str, *, is_shared: bool) -> float:
        """Square root of the correlation of two units of one source."""
        numbers = self._numbers(metric)
        if is_shared and SOURCE not in numbers:
            raise BadDocument(
                f"scenario {self.name}: the dependence of {metric} has no value for {SOURCE}",
                found=sorted(numbers),
                fix=f"add to `dependence` of {metric}: {SOURCE}: VALUE, from 0 to 1: the correlation of two units of "
                "one source",
            )
        return float(np.sqrt(numbers.get(SOURCE, 0.0)))

    def _numbers(self, metric: str) -> Mapping[str, float]:
        if metric not in self.scenario.dependence:
            raise BadDocument(
                f"scenario {self.name}: `dependence` has no entry for {metric}",
                found=sorted(self.scenario.dependence),
                fix=f"add to `dependence` of the scenario: {metric}: {{FACTOR: VALUE, …}}",
            )
        return self.scenario.dependence[metric]

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        # Each metric has its own random stream, so that it does not depend on the other metrics of a scenario.
        streams = dict(zip(self.metrics, chance.spawn(len(self.metrics)), strict=True))
        values = {metric: np.full(self.skeleton.present.shape, np.nan) for metric in self.metrics}
        for block in self.blocks:
            independent = [self._scores(streams[part.metric], block, part) for part in block.parts]
            for n, part in enumerate(block.parts):
                mixed = independent[0]
                if len(block.parts) > 1:
                    mixed = sum((w * z for w, z in zip(block.mixing[n], independent, strict=True)), np.zeros(()))
                drawn = _interpolate(part.table, mixed @ part.root)
                values[part.metric][block.rows[0] : block.rows[-1] + 1, part.columns] = drawn
        return replace(self.skeleton, values=values)

    @staticmethod
    def _scores(stream: np.random.Generator, block: _Block, part: _Part) -> Floats:
        """Normal scores, independent between cells, (units, cells)."""
        cells = part.root.shape[0]
        own: Floats = stream.standard_normal((len(block.rows), cells))
        if part.source == 0:
            return own
        of_source = stream.standard_normal((int(block.source.max()) + 1, cells))
        mixed: Floats = part.source * of_source[block.source] + np.sqrt(1 - part.source**2) * own
        return mixed


class PilotWorld:
    """Units of another study, drawn with replacement. All cells and columns of a unit stay together."""

    def __init__(self, name: str, pilot: Table, design: Design, cells: Iterable[Cell], scale: float = 1.0) -> None:
        """Select the cells from the pilot.

        Raises:
            BadDocument: when the pilot lacks a cell.
        """
        self.skeleton = skeleton(design, cells, scale)
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
        return replace(self.skeleton, values=values, present=present)


class GivenEffects:
    """The effects of a scenario, by metric and cell."""

    def __init__(self, name: str, scenario: Given, design: Design) -> None:
        """Find the effect of each cell; the last effect on a cell is used."""
        self.name = name
        self.by_cell = {
            (effect.metric, cell): effect for effect in scenario.effects for cell in design.select(effect.where)
        }

    def moments(self, metric: str, cell: Cell) -> tuple[float, float]:
        """Mean and standard deviation between units."""
        effect = self.by_cell.get((metric, cell))
        if effect is None:
            raise BadDocument(
                f"scenario {self.name} has no effect for {metric} in {cell}",
                fix="add an effect; write general effects first, because the last effect on a cell is used",
            )
        level = float(cell[effect.along] or 0.0) if effect.along else 0.0
        return effect.mean + effect.slope * level, effect.sd


class _Quantiles:
    """Values at the tabulated scores."""

    def __init__(self, name: str, effects: Effects, design: Design) -> None:
        self.name, self.effects, self.design = name, effects, design
        self.tables = dict[tuple[str, float, float], Floats]()

    def of(self, metric: str, cell: Cell) -> Floats:
        """Values of a metric in a cell."""
        key = (metric, *self.effects.moments(metric, cell))
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


def _connected(associated: Floats) -> list[list[int]]:
    """Metrics in groups: metrics of different groups are independent."""
    labels = connected_components(associated != 0, directed=False)[1]
    return [[int(n) for n in np.flatnonzero(labels == label)] for label in np.unique(labels)]


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
