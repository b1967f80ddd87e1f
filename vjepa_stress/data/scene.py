"""Scenes of textured shapes that move, turn, grow and occlude one another over a moving background.

Lengths are fractions of the frame's side, the origin is its upper left corner, and time runs from 0 at the first
frame to 1 at the last. As in `texture`, only operations with one exact result are used. Cosine and sine of an angle
are (1 − t²) / (1 + t²) and 2t / (1 + t²), with t = tan(angle / 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8, UInt64

from vjepa_stress.data.shape import Shape, draw_shape
from vjepa_stress.data.texture import Draws, covered, pack, paint, sample, unpack

_MARGIN = 1.15
"""Half the side of an object's texture, in units of its radius; the margin beyond the radius is empty."""

_AREAS = {1: (0.06, 0.18), 2: (0.045, 0.12), 3: (0.035, 0.085), 4: (0.03, 0.06)}
"""Range of an object's area, as a fraction of the frame, by the number of objects."""

_SMALLEST = 0.025

_Times = Float64[np.ndarray, " t"]
_Path = Callable[[_Times], tuple[_Times, _Times]]


@dataclass(frozen=True)
class Layer:
    """A square texture and its position in each frame.

    Attributes:
        texture: packed texels (P, P).
        x: column of the centre, (T,).
        y: row of the centre, (T,).
        turn: tangent of half the angle, (T,).
        reach: half the side, (T,).
    """

    texture: UInt64[np.ndarray, "p p"]
    x: Float64[np.ndarray, " t"]
    y: Float64[np.ndarray, " t"]
    turn: Float64[np.ndarray, " t"]
    reach: Float64[np.ndarray, " t"]


@dataclass(frozen=True)
class Scene:
    """A background and the objects in front of it; each occludes the earlier ones."""

    background: Layer
    objects: tuple[Layer, ...]


def draw(scene: Scene, frames: int, size: int) -> tuple[UInt8[np.ndarray, "t s s 3"], UInt8[np.ndarray, "t s s"]]:
    """Render a scene.

    Returns:
        Pixels (T, S, S, 3), and the number of the visible object for each pixel (T, S, S), 0 for the background.
    """
    video = np.empty((frames, size, size), np.uint64)
    masks = np.zeros((frames, size, size), np.uint8)
    for t in range(frames):
        video[t] = _sampled(scene.background, t, size, (0, size), (0, size))
        for number, layer in enumerate(scene.objects, start=1):
            rows, columns = _span(layer.y[t], layer.reach[t], size), _span(layer.x[t], layer.reach[t], size)
            if rows[0] < rows[1] and columns[0] < columns[1]:
                box = _sampled(layer, t, size, rows, columns)
                # Each pixel belongs to one object: edges are not blended, so that masks are exact.
                inside = covered(box)
                np.copyto(video[t, slice(*rows), slice(*columns)], box, where=inside)
                np.copyto(masks[t, slice(*rows), slice(*columns)], number, where=inside)
    return unpack(video), masks


def compose(draws: Draws, frames: int, size: int, most_objects: int, travel: float, camera: float) -> Scene:
    """Draw a random scene. In the first frame no object occludes another, and each is inside the frame.

    Args:
        draws: source of all random numbers.
        frames: T, at least 1.
        size: rows and columns in pixels that the textures are made for.
        most_objects: 1 to 4; all numbers from 1 to `most_objects` are equally likely.
        travel: smallest distance that an object's centre moves.
        camera: largest distance that the background moves.
    """
    time = np.arange(frames) / max(frames - 1, 1)
    hue = draws.between(0.0, 1.0)
    background = _background(draws, time, size, hue, camera)
    count = 1 + draws.below(most_objects)
    shapes = [draw_shape(draws) for _ in range(count)]
    low, high = _AREAS[count]
    places = _places(draws, shapes, [draws.between(low, high) for _ in range(count)])
    paths: list[_Path] = []
    objects = []
    for number, (shape, (x, y, radius)) in enumerate(zip(shapes, places, strict=True)):
        paths.append(_path(draws, (x, y), paths, travel))
        tint = hue + (number + 1) / (count + 1) + draws.between(-0.06, 0.06)
        growth = draws.between(-0.3, 0.4)
        turn = draws.between(-1.0, 1.0) + draws.sign() * draws.between(0.15, 0.9) * time
        side = max(16, math.ceil(2.0 * _MARGIN * radius * size))
        line = ((2.0 * np.arange(side) + 1.0) / side - 1.0) * _MARGIN
        inside = shape(np.broadcast_to(line, (side, side)), np.broadcast_to(line[:, None], (side, side)))
        texture = pack(paint(draws, side, tint - math.floor(tint), vivid=True), inside)
        across, down = paths[-1](time)
        objects.append(Layer(texture, across, down, turn, _MARGIN * radius * (1.0 + growth * time)))
    return Scene(background, tuple(objects))


def _sampled(
    layer: Layer, t: int, size: int, rows: tuple[int, int], columns: tuple[int, int]
) -> UInt64[np.ndarray, "h w"]:
    """The layer in a box of frame `t`, as `sample` returns it."""
    half, side = float(layer.turn[t]), layer.texture.shape[0]
    texels = side / (2.0 * float(layer.reach[t]))
    cos = (1.0 - half * half) / (1.0 + half * half) * texels
    sin = 2.0 * half / (1.0 + half * half) * texels
    x, y = 0.5 / size - float(layer.x[t]), 0.5 / size - float(layer.y[t])
    middle = (side - 1) / 2.0
    across, down = np.arange(*columns), np.arange(*rows)[:, None]
    column = _fixed(cos * x + sin * y + middle) + _fixed(cos / size) * across + _fixed(sin / size) * down
    row = _fixed(cos * y - sin * x + middle) + _fixed(cos / size) * down - _fixed(sin / size) * across
    return sample(layer.texture, column, row)


def _fixed(value: float) -> int:
    return math.floor(65536.0 * value + 0.5)


def _span(centre: float, reach: float, size: int) -> tuple[int, int]:
    """First pixel that a layer can touch, and the pixel after the last one."""
    return max(0, math.floor((centre - reach) * size)), min(size, math.ceil((centre + reach) * size))


def _background(draws: Draws, time: _Times, size: int, hue: float, camera: float) -> Layer:
    # The visible part stays inside the texture: it reaches 0.5 · (cos + sin) · zoom plus half the pan at most.
    reach = 0.75 + camera / 2.0
    image = paint(draws, math.ceil(2.0 * reach * size), hue, vivid=False)
    x, y = _direction(draws)
    far = camera * draws.between(0.4, 1.0) * (time - 0.5)
    turn = draws.between(-0.06, 0.06) * (2.0 * time - 1.0)
    zoom = 1.0 + draws.between(0.0, 0.15) * (time if draws.below(2) else 1.0 - time)
    return Layer(pack(image, np.ones(image.shape[:2], bool)), 0.5 + x * far, 0.5 + y * far, turn, reach * zoom)


def _places(draws: Draws, shapes: list[Shape], areas: list[float]) -> list[tuple[float, float, float]]:
    """Centre and radius of each object: circles inside the frame that do not meet."""
    line = np.broadcast_to((2.0 * np.arange(64) + 1.0) / 64 - 1.0, (64, 64))
    filled = [4.0 * np.count_nonzero(shape(line, line.T)) / 64**2 for shape in shapes]
    while True:
        radii = [math.sqrt(area / part) for area, part in zip(areas, filled, strict=True)]
        for _ in range(20):
            places: list[tuple[float, float, float]] = []
            for radius in radii:
                x, y = draws.between(radius, 1.0 - radius), draws.between(radius, 1.0 - radius)
                if any((x - a) * (x - a) + (y - b) * (y - b) < (radius + r) * (radius + r) for a, b, r in places):
                    break
                places.append((x, y, radius))
            if len(places) == len(shapes):
                return places
        # Too crowded: try smaller objects. At the smallest size, four objects of any kind fit.
        areas = [max(_SMALLEST, 0.9 * area) for area in areas]


def _path(
    draws: Draws,
    start: tuple[float, float],
    others: list[_Path],
    travel: float,
) -> _Path:
    """A smooth path from `start`; it usually crosses the path of an earlier object."""
    x, y = start
    meets = bool(others) and draws.below(4) > 0
    while True:
        if meets:
            when = draws.between(0.35, 0.75)
            a, b = others[draws.below(len(others))](np.array([when]))
            end = (
                x + (float(a[0]) + draws.between(-0.06, 0.06) - x) / when,
                y + (float(b[0]) + draws.between(-0.06, 0.06) - y) / when,
            )
            # Give up with probability 1/4, because a crossing inside the frame may be impossible.
            meets = draws.below(4) > 0
        else:
            end = (draws.between(0.08, 0.92), draws.between(0.08, 0.92))
        along, down = end[0] - x, end[1] - y
        if min(end) > -0.02 and max(end) < 1.02 and along * along + down * down >= travel * travel:
            break
    bow, ease = draws.between(-0.5, 0.5), draws.between(-0.4, 0.4)

    def path(time: _Times) -> tuple[_Times, _Times]:
        gone = time + ease * time * (1.0 - time)
        aside = bow * gone * (1.0 - gone)
        return x + along * gone - down * aside, y + down * gone + along * aside

    return path


def _direction(draws: Draws) -> tuple[float, float]:
    """A unit vector in a random direction."""
    while True:
        x, y = draws.between(-1.0, 1.0), draws.between(-1.0, 1.0)
        length = math.sqrt(x * x + y * y)
        if 0.1 < length <= 1.0:
            return x / length, y / length
