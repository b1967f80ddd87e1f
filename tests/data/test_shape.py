"""Outlines of rendered objects: what holds for every one of them."""

from __future__ import annotations

import numpy as np
import pytest

from vjepa_stress.data.shape import draw_shape
from vjepa_stress.data.texture import Draws

SEEDS = range(60)
LINE = (2.0 * np.arange(128) + 1.0) / 128 * 1.2 - 1.2
U, V = np.broadcast_to(LINE, (128, 128)), np.broadcast_to(LINE[:, None], (128, 128))


def outline(seed: int, scale: float = 1.0) -> np.ndarray:
    return draw_shape(Draws(seed))(scale * U, scale * V)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_outline_lies_within_the_unit_circle_around_its_centre(seed: int) -> None:
    inside = outline(seed)
    assert not inside[U * U + V * V > 1.0].any()
    assert inside[U * U + V * V < 0.2**2].all()
    assert 0.25 < inside.mean() * 2.4**2 / np.pi <= 1.0  # part of the circle that it fills


@pytest.mark.parametrize("seed", SEEDS)
def test_every_ray_from_the_centre_leaves_an_outline_once(seed: int) -> None:
    for scale in (0.9, 0.5):
        assert outline(seed, scale)[outline(seed)].all()


def test_a_seed_gives_one_outline_and_seeds_differ() -> None:
    assert all(np.array_equal(outline(seed), outline(seed)) for seed in range(6))
    assert len({outline(seed).tobytes() for seed in SEEDS}) > 50  # a few differ by less than a pixel


def test_outlines_are_of_different_kinds() -> None:
    """Convex and not, symmetric about both axes and not: ellipses, crosses and stars are among them."""

    def convex(inside: np.ndarray) -> bool:
        points = np.argwhere(inside)
        chosen = np.random.default_rng(0).integers(len(points), size=(2, 400))
        middles = (points[chosen[0]] + points[chosen[1]]) // 2
        return bool(inside[tuple(middles.T)].mean() > 0.99)

    kinds = {
        (convex(inside), np.array_equal(inside, inside[::-1]) and np.array_equal(inside, inside[:, ::-1]))
        for inside in map(outline, SEEDS)
    }
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
