"""Spearman's rank correlation of many weighted samples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.statistics.numerics.arrays import Floats

_AT_ONCE = 2_000_000
"""Maximum number of values per batch."""


def spearman_rho(x: Floats, y: Floats, weights: Floats | None = None) -> Floats:
    """Spearman's rho of each row: Pearson's r of weighted mid-ranks. Equal values have their mean rank.

    Args:
        x, y: (rows, n), or (1, n) if all rows have the same values.
        weights: (rows, n), the number of occurrences of each pair; None for one each.

    Returns:
        (rows,); NaN for rows in which a side is constant or contains NaN.
    """
    if weights is None:
        weights = np.ones((1, x.shape[1]))
    rows = max(len(x), len(y), len(weights))
    step = max(1, _AT_ONCE // max(1, x.shape[1]))
    if len(x) == len(y) == 1:
        shared = [_ties(part) for part in (x, y)]
        batches = range(0, rows, step)
        defined = not (np.isnan(x).any() or np.isnan(y).any())
        found = [_rho_of_weights(shared, weights[at : at + step], x.shape[1]) for at in batches]
        return np.concatenate(found) if defined and found else np.full(rows, np.nan)
    sides = [(part, _ties(part) if len(part) == 1 else None) for part in (x, y)]
    found = [
        _rho(sides, weights if len(weights) == 1 else weights[at : at + step], slice(at, at + step))
        for at in range(0, rows, step)
    ]
    return np.concatenate(found) if found else np.empty(0)


def mid_ranks(values: Floats) -> Floats:
    """For each value, (n,), the number of smaller values plus half the number of equal values, itself included."""
    ranks: Floats = _ranks(_ties(values[None]), np.ones((1, len(values))))[0]
    return ranks


_Ties = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _rho_of_weights(sides: list[_Ties], weights: Floats, n: int) -> Floats:
    """The same if only the weights differ between rows, as in a bootstrap; twice as fast.

    Weights are transposed, so that sorting copies whole rows of memory.
    """
    by_pair = np.ascontiguousarray(weights.T)
    half = by_pair.sum(0) / 2
    upto = np.zeros((n + 1, by_pair.shape[1]))

    def ranks(ties: _Ties) -> Floats:
        order, first, last = (part[0] for part in ties)
        np.cumsum(by_pair[order], axis=0, out=upto[1:])
        found: Floats = upto[first]
        if (first == last).all():
            found += by_pair / 2
        else:
            found += upto[last + 1]
            found /= 2
        found -= half
        return found

    left, right = (ranks(one) for one in sides)
    weighted = by_pair * left
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.einsum("nr,nr->r", weighted, left) * np.einsum("nr,nr,nr->r", by_pair, right, right))
        rho: Floats = np.einsum("nr,nr->r", weighted, right) / spread
    return rho.clip(-1, 1)


def _rho(sides: list[tuple[Floats, _Ties | None]], weights: Floats, rows: slice) -> Floats:
    total = weights.sum(axis=1, keepdims=True)
    left, right = (_ranks(ties or _ties(part[rows]), weights) - total / 2 for part, ties in sides)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((weights * left**2).sum(1) * (weights * right**2).sum(1))
        rho: Floats = (weights * left * right).sum(1) / spread
    for part, ties in sides:
        rho = np.where(np.isnan(part if ties else part[rows]).any(axis=1), np.nan, rho)
    return rho.clip(-1, 1)


def _ties(values: Floats) -> _Ties:
    """The sort order of each row, and for each value the first and the last sorted position of its equal values."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    position = np.arange(values.shape[1])
    new = np.ones(values.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, position, 0), axis=1)
    ends = np.ones(values.shape, dtype=bool)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, position, values.shape[1])[:, ::-1], axis=1)[:, ::-1]
    inverse = np.empty_like(order)
    np.put_along_axis(inverse, order, np.broadcast_to(position, order.shape), axis=1)
    return order, np.take_along_axis(first, inverse, axis=1), np.take_along_axis(last, inverse, axis=1)


def _ranks(ties: _Ties, weights: Floats) -> Floats:
    """For each value, the weight of smaller values plus half the weight of equal values."""
    order, first, last = ties
    rows = max(len(order), len(weights))

    def take(table: Floats, positions: NDArray[np.int64]) -> Floats:
        if len(positions) == 1:  # the same positions in every row, which is much faster
            same: Floats = table.take(positions[0], axis=1)
            return same
        taken: Floats = np.take_along_axis(np.broadcast_to(table, (rows, table.shape[1])), positions, axis=1)
        return taken

    ordered = take(weights, order)
    upto = np.zeros((len(ordered), ordered.shape[1] + 1))
    ordered.cumsum(axis=1, out=upto[:, 1:])
    ranks: Floats = (take(upto, first) + take(upto, last + 1)) / 2
    return ranks
