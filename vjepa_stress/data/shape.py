"""Outlines of rendered objects, inside the unit circle and without transcendental functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vjepa_stress.data.texture import Draws, smooth

_Grid = Float64[np.ndarray, "h w"]
_Inside = Bool[np.ndarray, "h w"]

Shape = Callable[[_Grid, _Grid], _Inside]
"""Maps coordinates u and v to whether the point is inside."""


def draw_shape(draws: Draws) -> Shape:
    """A random ellipse, rectangle, cross, polygon, star or blob."""
    return _KINDS[draws.below(len(_KINDS))](draws)


def _ellipse(draws: Draws) -> Shape:
    flat = draws.between(0.55, 1.0)
    return lambda u, v: u * u + v * v / (flat * flat) <= 1.0


def _rectangle(draws: Draws) -> Shape:
    half = draws.between(0.24, 0.41)
    wide, tall = (1.0 - half * half) / (1.0 + half * half), 2.0 * half / (1.0 + half * half)
    return lambda u, v: (np.abs(u) <= wide) & (np.abs(v) <= tall)


def _cross(draws: Draws) -> Shape:
    arm = draws.between(0.3, 0.42)
    return lambda u, v: (np.minimum(np.abs(u), np.abs(v)) <= arm) & (np.maximum(np.abs(u), np.abs(v)) <= 0.9)


def _polygon(draws: Draws) -> Shape:
    sides = 3 + draws.below(4)
    reach = (0.52, 0.68, 0.76, 0.82)[sides - 3]
    normals = [_at(4.0 * (i + draws.between(-0.15, 0.15)) / sides) for i in range(sides)]

    def inside(u: _Grid, v: _Grid) -> _Inside:
        kept: _Inside = u * u + v * v <= 1.0
        for x, y in normals:
            kept &= x * u + y * v <= reach
        return kept

    return inside


def _star(draws: Draws) -> Shape:
    points, inner = 4 + draws.below(4), draws.between(0.45, 0.6)

    def inside(u: _Grid, v: _Grid) -> _Inside:
        phase = _quarter_turns(u, v) * (points / 4.0)
        tip = np.abs(2.0 * (phase - np.floor(phase)) - 1.0)
        far = inner + (1.0 - inner) * tip
        kept: _Inside = u * u + v * v <= far * far
        return kept

    return inside


def _blob(draws: Draws) -> Shape:
    knots = 0.55 + 0.45 * draws.unit(5 + draws.below(4))

    def inside(u: _Grid, v: _Grid) -> _Inside:
        phase = _quarter_turns(u, v) * (len(knots) / 4.0)
        low: Int64[np.ndarray, "h w"] = np.floor(phase).astype(np.int64)
        part = smooth(phase - low)
        first, second = knots[low % len(knots)], knots[(low + 1) % len(knots)]
        far = first + (second - first) * part
        kept: _Inside = u * u + v * v <= far * far
        return kept

    return inside


def _quarter_turns(u: _Grid, v: _Grid) -> _Grid:
    """The direction of a point in [0, 4), increasing with its angle; exact, unlike an arc tangent."""
    part = v / np.maximum(np.abs(u) + np.abs(v), 1e-9)
    turns: _Grid = np.where(u < 0, 2.0 - part, np.where(v < 0, 4.0 + part, part))
    return turns


def _at(quarter_turns: float) -> tuple[float, float]:
    """The unit vector with the given `_quarter_turns`."""
    turns = quarter_turns - 4.0 * math.floor(quarter_turns / 4.0)
    x = 1.0 - turns if turns <= 2.0 else turns - 3.0
    y = turns if turns <= 1.0 else 2.0 - turns if turns <= 3.0 else turns - 4.0
    length = math.sqrt(x * x + y * y)
    return x / length, y / length


_KINDS = (_ellipse, _rectangle, _cross, _polygon, _star, _blob)
