"""Camera roll against exact rotations, and its alignment against the geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from tests.perturb.textures import clips
from vjepa_stress.perturb.camera_roll import CameraRoll

QUARTER = CameraRoll(degrees_at_full=90.0)


def test_a_right_angle_is_an_exact_rotation_counter_clockwise() -> None:
    video = clips(1, 32, 32)
    torch.testing.assert_close(QUARTER(video, 1.0, [0]), video.rot90(1, (3, 4)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("degrees", [10.0, 37.0, 45.0])
def test_other_angles_agree_with_scipy_away_from_the_border(degrees: float) -> None:
    video = clips(1, 48, 48, frames=4)
    found = CameraRoll(degrees_at_full=degrees)(video, 1.0, [0])[0].numpy()
    expected = rotate(video[0].double().numpy(), degrees, axes=(3, 2), reshape=False, order=1, mode="reflect")
    middle = (..., slice(12, 36), slice(12, 36))
    np.testing.assert_allclose(found[middle], expected[middle], atol=2e-5)


def test_half_the_strength_twice_is_the_whole() -> None:
    video = clips(1, 48, 48, frames=4)
    twice = QUARTER(QUARTER(video, 0.5, [0]), 0.5, [0])
    middle = (..., slice(14, 34), slice(14, 34))
    assert float((twice[middle] - QUARTER(video, 1.0, [0])[middle]).abs().max()) < 0.03


def test_alignment_of_a_right_angle_is_exact_and_loses_nothing() -> None:
    features = torch.rand((1, 2, 6, 6, 3), generator=torch.Generator().manual_seed(1))
    back, counterpart = QUARTER.align(features.rot90(1, (2, 3)), 1.0)
    torch.testing.assert_close(back, features, atol=1e-5, rtol=0)
    assert bool(counterpart.all())


@pytest.mark.parametrize("strength", [0.2, 0.5])
def test_positions_whose_content_left_the_frame_have_no_counterpart(strength: float) -> None:
    side = 12
    _, counterpart = QUARTER.align(torch.zeros(1, 1, side, side, 1), strength)
    angle = math.radians(90 * strength)
    centres = np.arange(side) + 0.5 - side / 2
    x, y = centres[None], centres[:, None]
    reach = np.maximum(
        np.abs(x * math.cos(angle) + y * math.sin(angle)), np.abs(y * math.cos(angle) - x * math.sin(angle))
    )
    assert np.array_equal(counterpart.numpy(), reach <= side / 2 - 0.5 + 1e-6)


def test_no_strength_aligns_nothing() -> None:
    features = torch.rand((1, 1, 5, 7, 2), generator=torch.Generator().manual_seed(2))
    for strength in (None, 0.0):
        back, counterpart = QUARTER.align(features, strength)
        torch.testing.assert_close(back, features)
        assert bool(counterpart.all())
