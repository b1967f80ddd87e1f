"""Dependence between the cells of a unit: one number for each factor, and its estimate from a pilot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vjepa_stress.design import Cell, Design
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.ranks import mid_ranks
from vjepa_stress.verdict.table import Table

_LEAST = 3
"""Fewest units with values in both cells for which a correlation is computed."""


def differing(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Factors in which some of the cells differ."""
    return tuple(factor for factor in cells[0] if len({cell[factor] for cell in cells}) > 1)


def cell_correlations(cells: Sequence[Cell], numbers: Mapping[str, float]) -> Floats:
    """Correlations of the normal scores of one unit, (cells, cells).

    The correlation of two cells is the product of the numbers of all factors in which the cells differ. The matrix is
    positive semidefinite, because it is an elementwise product of positive semidefinite matrices.

    Args:
        cells: the cells.
        numbers: factor → number in [0, 1], for every factor in which the cells differ.

    Raises:
        KeyError: when the number of a factor is missing.
    """
    found = np.ones((len(cells), len(cells)))
    for factor in differing(cells):
        same = _same(cells, factor)
        found *= np.where(same, 1.0, numbers[factor])
    return found


def estimate_dependence(table: Table, design: Design, metric: str) -> dict[str, float]:
    """Estimate the dependence of a metric from the table of a pilot.

    For each factor: the mean correlation of rank-based normal scores across units, over all pairs of cells that
    differ only in this factor, clipped to [0, 1]. A factor is left out if no pair of cells of one stratum differs
    only in it, or if all of its pairs have a constant cell. If units share sources, `source` is the correlation of
    the scores of two units of one source in one cell.

    Args:
        table: the table of the pilot.
        design: its design, which knows the strata of cells.
        metric: the metric.

    Returns:
        factor → number, for `dependence` of a scenario.
    """
    found: dict[str, list[float]] = {}
    shared: list[float] = []
    for stratum in design.strata(table.cells):
        cells = [cell for cell in table.cells if design.stratum(cell) == stratum]
        values, present = table.take(metric, cells)
        rows = present.any(axis=1)
        scores = np.apply_along_axis(_normal_scores, 0, values[rows])
        shared += _within_sources(scores, table.source[rows])
        correlations = _correlations(scores)
        for factor in differing(cells):
            others = [_same(cells, name) for name in cells[0] if name != factor]
            only = np.triu(~_same(cells, factor) & np.logical_and.reduce(others))
            pairs = correlations[only]
            found.setdefault(factor, []).extend(pairs[np.isfinite(pairs)])
    if shared:
        found["source"] = shared
    return {factor: float(np.clip(np.mean(pairs), 0, 1)) for factor, pairs in found.items() if pairs}


def _same(cells: Sequence[Cell], factor: str) -> NDArray[np.bool_]:
    """Whether two cells have the same level of a factor, (cells, cells)."""
    codes = {level: n for n, level in enumerate(dict.fromkeys(cell[factor] for cell in cells))}
    levels = np.array([codes[cell[factor]] for cell in cells])
    same: NDArray[np.bool_] = levels[:, None] == levels
    return same


def _normal_scores(values: Floats) -> Floats:
    """Rank-based normal scores of the defined values of one cell; NaN elsewhere, and if all values are equal."""
    scores, defined = np.full(len(values), np.nan), np.isfinite(values)
    if len(set(values[defined])) > 1:
        scores[defined] = special.ndtri((mid_ranks(values[defined]) + 0.5) / (defined.sum() + 1))
    return scores


def _correlations(scores: Floats) -> Floats:
    """Correlations of all pairs of columns over the rows that both define; NaN for fewer than three rows."""
    defined = np.isfinite(scores)
    filled, one = np.where(defined, scores, 0.0), defined.astype(np.float64)
    n = one.T @ one
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (filled.T @ one) / n
        squares = (filled**2).T @ one / n - means**2
        products = filled.T @ filled / n - means * means.T
        found: Floats = np.where(n >= _LEAST, products / np.sqrt(squares * squares.T), np.nan)
    return found


def _within_sources(scores: Floats, source: NDArray[np.int64]) -> list[float]:
    """For each cell, the intra-class correlation of units of one source (ANOVA estimate); none without repeats."""
    groups = [np.flatnonzero(source == number) for number in np.unique(source)]
    if len(groups) in (1, len(source)):
        return []
    found = []
    for column in scores.T:
        parts = [part for rows in groups if len(part := column[rows][np.isfinite(column[rows])])]
        sizes, n = np.array([len(part) for part in parts]), sum(len(part) for part in parts)
        if not 1 < len(parts) < n:
            continue
        mean = np.concatenate(parts).mean()
        between = sum(len(part) * (part.mean() - mean) ** 2 for part in parts) / (len(parts) - 1)
        inside = sum(((part - part.mean()) ** 2).sum() for part in parts) / (n - len(parts))
        size = (n - (sizes**2).sum() / n) / (len(parts) - 1)
        found.append(float((between - inside) / (between + (size - 1) * inside)))
    return found
