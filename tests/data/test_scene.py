"""Drawing of scenes whose layers are written by hand, so that every pixel is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vjepa_stress.data.scene import Layer, Scene, compose, draw
from vjepa_stress.data.texture import Draws, pack

SIZE = 16


def layer(image: np.ndarray, x: float = 0.5, y: float = 0.5, reach: float = 0.5, turn: float = 0.0) -> Layer:
    """A texture that does not move, for one frame."""
    still = (np.full(1, value) for value in (x, y, turn, reach))
    return Layer(pack(image, np.ones(image.shape[:2], bool)), *still)


def plain(value: int, side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


BACKGROUND = layer(plain(10, 32), reach=1.0)


def test_an_empty_scene_is_its_background() -> None:
    video, ids = draw(Scene(BACKGROUND, ()), 1, SIZE)
    assert (video == 10).all()
    assert not ids.any()


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.25, 0.75), (0.0, 0.5), (1.0, 1.0)])
def test_a_square_covers_exactly_its_pixels(x: float, y: float) -> None:
    video, ids = draw(Scene(BACKGROUND, (layer(plain(200), x, y, 0.25),)), 1, SIZE)
    centres = (np.arange(SIZE) + 0.5) / SIZE
    expected = (np.abs(centres[:, None] - y) <= 0.25) & (np.abs(centres - x) <= 0.25)
    assert np.array_equal(ids[0] == 1, expected)
    assert (video[0][expected] == 200).all()
    assert (video[0][~expected] == 10).all()


def test_an_object_beyond_the_frame_is_not_drawn() -> None:
    for x in (-0.5, 1.5, 40.0):
        _, ids = draw(Scene(BACKGROUND, (layer(plain(200), x, 0.5, 0.25),)), 1, SIZE)
        assert not ids.any()


def test_a_later_object_hides_an_earlier_one() -> None:
    below, above = layer(plain(100), reach=0.375), layer(plain(200), reach=0.125)
    video, ids = draw(Scene(BACKGROUND, (below, above)), 1, SIZE)
    assert [(ids == number).sum() for number in (0, 1, 2)] == [256 - 144, 144 - 16, 16]
    assert [set(video[ids == number].flatten().tolist()) for number in (0, 1, 2)] == [{10}, {100}, {200}]
    _, ids = draw(Scene(BACKGROUND, (above, below)), 1, SIZE)
    assert set(np.unique(ids)) == {0, 2}


def test_a_quarter_turn_turns_the_texture() -> None:
    image = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    # The frame is the middle of a texture twice as wide, so that no pixel is at its edge.
    wide = np.pad(image, ((8, 8), (8, 8), (0, 0)))
    still, _ = draw(Scene(layer(wide, reach=1.0), ()), 1, SIZE)
    assert np.array_equal(still[0], image)
    # tan of half a right angle is 1; a positive angle turns x towards y, which points down.
    turned, _ = draw(Scene(layer(wide, reach=1.0, turn=1.0), ()), 1, SIZE)
    assert np.array_equal(turned[0], np.rot90(image, -1))


def test_each_frame_shows_the_layer_where_it_is_by_then() -> None:
    square = layer(plain(200), reach=0.125)
    moving = replace(
        square, x=np.array([0.25, 0.75]), y=np.array([0.5, 0.5]), turn=np.zeros(2), reach=np.array([0.125, 0.25])
    )
    background = replace(
        BACKGROUND, **{name: np.repeat(getattr(BACKGROUND, name), 2) for name in ("x", "y", "turn", "reach")}
    )
    _, ids = draw(Scene(background, (moving,)), 2, SIZE)
    columns = [np.flatnonzero(frame.any(0)) for frame in ids]
    assert [(found[0], found[-1]) for found in columns] == [(2, 5), (8, 15)]


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_a_scene_has_at_most_the_objects_asked_for(most: int) -> None:
    counts = {len(compose(Draws(seed), 4, 48, most, 0.3, 0.2).objects) for seed in range(30)}
    assert counts == set(range(1, most + 1))
