"""Worlds that need no author: no effect, shuffled labels, noise only, and dose only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vjepa_stress.design import Cell, Design
from vjepa_stress.prereg.scenarios import SOURCE, Given
from vjepa_stress.verdict.dependence import differing, estimate_dependence
from vjepa_stress.verdict.needed import Needed, columns_of
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import Effects, GivenEffects, GivenWorld, World, skeleton

_MARGIN = 0.05
"""Distance of the doses from the ends of a range, as a share of its width, so that values stay in the range."""

_JITTER = 0.001
"""Standard deviation of the values in `dose`, as a share of the width of a range."""


class Alike:
    """Every cell alike: for each metric, the averages of the means and standard deviations of the cells."""

    def __init__(self, effects: Effects, needed: Needed) -> None:
        """Average the moments over the cells that need a metric."""
        moments = {
            metric: [effects.moments(metric, cell) for cell, columns in needed.items() if metric in columns]
            for metric in columns_of(needed)
        }
        self.averages = {metric: tuple(np.mean(found, axis=0)) for metric, found in moments.items()}

    def moments(self, metric: str, cell: Cell) -> tuple[float, float]:  # noqa: ARG002
        """Mean and standard deviation, the same in every cell."""
        mean, sd = self.averages[metric]
        return float(mean), float(sd)


class OfPilot:
    """Moments of the values of a pilot."""

    def __init__(self, pilot: Table) -> None:
        """Keep the table."""
        self.pilot = pilot

    def moments(self, metric: str, cell: Cell) -> tuple[float, float]:
        """Mean and standard deviation between units."""
        values = self.pilot.take(metric, [cell])[0]
        return float(np.nanmean(values)), float(np.nanstd(values))


def null_of_scenario(name: str, scenario: Given, design: Design, needed: Needed) -> GivenWorld:
    """The world `null` of a scenario of the authors: its dependence, all cells alike, no associations."""
    effects = Alike(GivenEffects(name, scenario, design), needed)
    unassociated = scenario.model_copy(update={"associations": ()})
    return GivenWorld("null", unassociated, design, needed, effects=effects)


def null_of_pilot(pilot: Table, design: Design, needed: Needed) -> GivenWorld:
    """The world `null` of a pilot, with the pilot's spread and dependence."""
    factors = dict.fromkeys((*differing(list(needed)), SOURCE), 0.0)
    dependence = {metric: {**factors, **estimate_dependence(pilot, design, metric)} for metric in columns_of(needed)}
    # Not validated, because its effects are replaced, and a scenario of the authors needs at least one.
    scenario = Given.model_construct(effects=(), dependence=dependence, associations=())
    return GivenWorld("null", scenario, design, needed, effects=Alike(OfPilot(pilot), needed))


class Shuffled:
    """A world whose metrics are related neither to the factors nor to each other.

    Within each unit, the cells of a stratum are permuted; within each stratum, the units are permuted. Each metric is
    permuted separately.
    """

    def __init__(self, world: World, design: Design, needed: Needed) -> None:
        """Find the cells of each stratum that need each metric."""
        self.world, self.skeleton = world, world.skeleton
        self.parts = [
            (metric, self.skeleton.columns(cells))
            for metric in columns_of(needed)
            for stratum in design.strata(tuple(needed))
            if (cells := [c for c, columns in needed.items() if metric in columns and design.stratum(c) == stratum])
        ]

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        table = self.world.draw(chance)
        values = {metric: part.copy() for metric, part in table.values.items()}
        for metric, columns in self.parts:
            present = table.present[:, columns]
            rows = np.flatnonzero(present.any(axis=1))
            present, part = present[rows], values[metric][np.ix_(rows, columns)]
            # Values move between the cells in which the unit is present.
            keys = np.where(present, chance.random(part.shape), 2.0)
            taken = np.take_along_axis(part, keys.argsort(axis=1), axis=1)
            np.put_along_axis(part, np.argsort(~present, axis=1, kind="stable"), taken, axis=1)
            if present.all():
                part = part[chance.permutation(len(rows))]
            values[metric][np.ix_(rows, columns)] = part
        return replace(table, values=values)


class Noise:
    """Every value independent and uniform over the range of its metric."""

    def __init__(self, design: Design, needed: Needed) -> None:
        """Keep the ranges of the metrics."""
        self.skeleton = skeleton(design, needed)
        self.ranges = {metric: design.columns[metric].range for metric in columns_of(needed)}

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        shape, present = self.skeleton.present.shape, self.skeleton.present
        values = {name: np.where(present, chance.uniform(*span, shape), np.nan) for name, span in self.ranges.items()}
        return replace(self.skeleton, values=values)


class Dose:
    """Every metric rises with the levels of a numeric factor, and with nothing else.

    Cells without a level count as the lowest.
    """

    def __init__(self, design: Design, needed: Needed, factor: str) -> None:
        """Rank the levels of the factor."""
        self.skeleton = skeleton(design, needed)
        self.ranges = {metric: design.columns[metric].range for metric in columns_of(needed)}
        levels = sorted({float(level) for cell in needed if (level := cell[factor]) is not None})
        rank = [0 if (level := cell[factor]) is None else levels.index(float(level)) for cell in self.skeleton.cells]
        self.share = _MARGIN + (1 - 2 * _MARGIN) * np.array(rank) / (len(levels) - 1)

    def draw(self, chance: np.random.Generator) -> Table:
        """The table of one simulated study."""
        present, values = self.skeleton.present, {}
        for name, (low, high) in self.ranges.items():
            jitter = _JITTER * chance.standard_normal(present.shape)
            values[name] = np.where(present, low + (high - low) * (self.share + jitter), np.nan)
        return replace(self.skeleton, values=values)


def dose_factor(design: Design, cells: Needed) -> str | None:
    """The first numeric factor of which the cells have at least two levels; None if there is none."""
    for factor in design.factors:
        levels = {cell[factor.name] for cell in cells} - {None}
        if factor.numeric and len(levels) > 1:
            return factor.name
    return None
