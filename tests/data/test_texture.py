"""Textures against numpy's own generator, scipy's interpolation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from vjepa_stress.data.texture import Draws, covered, pack, paint, sample, smooth, unpack, value_noise


def reference(seed: int) -> np.random.Generator:
    """numpy's doubles from the same bits."""
    return np.random.Generator(np.random.PCG64(seed))


def test_draws_are_the_doubles_of_numpy() -> None:
    draws, expected = Draws(7), reference(7)
    assert np.array_equal(draws.unit(3, 4), expected.random((3, 4)))
    assert draws.between(-2.0, 6.0) == -2.0 + 8.0 * expected.random()
    assert draws.unit(2).shape == (2,)


def test_integers_and_signs_are_uniform() -> None:
    draws, count = Draws(3), 6000
    for sides in (1, 2, 6):
        shares = np.bincount([draws.below(sides) for _ in range(count)], minlength=sides)
        assert len(shares) == sides
        assert np.abs(shares - count / sides).max() <= 5 * math.sqrt(count / sides)
    signs = {draws.sign() for _ in range(50)}
    assert signs == {-1.0, 1.0}


def test_smooth_goes_from_0_to_1_without_a_corner() -> None:
    part = np.linspace(0, 1, 101)
    eased = smooth(part)
    np.testing.assert_allclose(eased, 3 * part**2 - 2 * part**3, atol=1e-15)
    assert (eased[0], eased[50], eased[-1]) == (0.0, 0.5, 1.0)
    assert (np.diff(eased) > 0).all()
    assert eased[1] < 0.001  # flat at both ends
    assert 1 - eased[-2] < 0.001


@pytest.mark.parametrize(("side", "cells", "octaves"), [(16, 4.0, 1), (37, 3.3, 2), (64, 2.0, 4)])
def test_value_noise_is_an_interpolated_lattice(side: int, cells: float, octaves: int) -> None:
    numbers, field = reference(5), np.zeros((side, side))
    for octave in range(octaves):
        across = cells * 2**octave
        knots = math.ceil(across) + 1
        lattice = numbers.random((knots, knots))
        at = (np.arange(side) + 0.5) * across / side
        warped = np.floor(at) + smooth(at - np.floor(at))
        field += 0.6**octave * map_coordinates(lattice, np.meshgrid(warped, warped, indexing="ij"), order=1)
    expected = (field - field.min()) / (field.max() - field.min())
    found = value_noise(Draws(5), side, cells, octaves)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (found.min(), found.max()) == (0.0, 1.0)


def picture() -> np.ndarray:
    """Noise of 7 rows and 9 columns."""
    return np.random.default_rng(2).integers(0, 256, (7, 9, 3), dtype=np.uint8)


def test_a_look_up_at_the_centres_of_texels_gives_them_back() -> None:
    image, inside = picture(), np.random.default_rng(3).random((7, 9)) < 0.5
    rows, columns = np.meshgrid(np.arange(6), np.arange(8), indexing="ij")  # the last is a limit, not a texel
    found = sample(pack(image, inside), columns << 16, rows << 16)
    assert np.array_equal(unpack(found), image[:6, :8])
    assert np.array_equal(covered(found), inside[:6, :8])


def test_a_look_up_between_texels_is_bilinear() -> None:
    image = picture()
    x, y = (np.random.default_rng(last).uniform(0, last - 0.01, 500) for last in (8, 6))
    found = sample(pack(image, np.ones((7, 9), bool)), (x * 65536).astype(np.int64), (y * 65536).astype(np.int64))
    assert covered(found).all()
    for channel in range(3):
        expected = map_coordinates(image[..., channel].astype(float), (y, x), order=1)
        # Rounded down, after weights of 1/256 that are rounded down too.
        difference = unpack(found)[:, channel] - expected
        assert difference.min() > -4
        assert difference.max() < 4
        assert abs(difference.mean() + 0.5) < 0.5


def test_a_look_up_beyond_the_texture_gives_its_edge() -> None:
    packed = pack(picture(), np.ones((7, 9), bool))
    middle = np.array([3 << 16])
    for far, right, below in ((-(10**9), 0, 0), (10**9, (8 << 16) - 1, (6 << 16) - 1)):
        assert np.array_equal(sample(packed, np.array([far]), middle), sample(packed, np.array([right]), middle))
        assert np.array_equal(sample(packed, middle, np.array([far])), sample(packed, middle, np.array([below])))


def test_covered_is_a_half_or_more() -> None:
    inside = np.zeros((3, 3), bool)
    inside[:, 0] = True
    x = np.arange(0, 65536, 256)
    found = covered(sample(pack(np.zeros((3, 3, 3), np.uint8), inside), x, np.zeros_like(x)))
    assert found[0]
    assert not found[-1]
    assert (np.diff(found.astype(int)) <= 0).all()  # one border
    assert found.sum() == pytest.approx(len(x) / 2, abs=2)


@pytest.mark.parametrize("vivid", [True, False])
def test_paint_depends_on_its_draws_alone(vivid: bool) -> None:
    images = [paint(Draws(seed), 24, 0.3, vivid) for seed in (1, 1, 2)]
    assert images[0].shape == (24, 24, 3)
    assert images[0].dtype == np.uint8
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_objects_are_more_saturated_than_backgrounds() -> None:
    def saturation(vivid: bool) -> float:
        images = np.stack([paint(Draws(seed), 24, 0.6, vivid) for seed in range(20)]).astype(float)
        return float((images.max(-1) - images.min(-1)).mean())

    assert saturation(vivid=True) > 1.5 * saturation(vivid=False)
