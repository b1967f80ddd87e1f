"""Gaussian noise: its moments, and one field that the strength scales."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from vjepa_stress.perturb.gaussian_noise import GaussianNoise

NOISE = GaussianNoise(sigma_at_full=0.4)
GREY = torch.full((1, 3, 16, 32, 32), 0.5)


def test_noise_is_one_field_scaled() -> None:
    noise = {s: NOISE(GREY, s, [3]) - GREY for s in (0.1, 0.2)}
    torch.testing.assert_close(noise[0.2], 2 * noise[0.1], atol=1e-6, rtol=0)


def test_noise_is_normal_with_the_deviation_promised() -> None:
    noise = (NOISE(GREY, 0.2, [3]) - GREY).flatten()
    n = noise.numel()
    # The standard error of a standard deviation over n values is σ/√(2n).
    assert float(noise.std()) == pytest.approx(0.08, abs=5 * 0.08 / math.sqrt(2 * n))
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.08 / math.sqrt(n))
    assert stats.kstest(noise.numpy(), "norm", args=(0, 0.08)).pvalue > 0.001


def test_pixels_channels_and_frames_are_independent() -> None:
    noise = (NOISE(GREY, 0.2, [3]) - GREY)[0] / 0.08
    for axis in range(4):
        first, second = noise.narrow(axis, 0, noise.shape[axis] - 1), noise.narrow(axis, 1, noise.shape[axis] - 1)
        assert abs(float((first * second).mean())) < 5 / math.sqrt(first.numel())


def test_values_are_clipped() -> None:
    found = NOISE(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1).expand(2, 3, 4, 16, 16), 1.0, [1, 2])
    for value, side in zip(found, (0.0, 1.0), strict=True):
        # One half of the noise leads out of the range.
        assert float((value == side).float().mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("sigma", [0.0, -0.1])
def test_a_deviation_is_positive(sigma: float) -> None:
    with pytest.raises(ValidationError):
        GaussianNoise(sigma_at_full=sigma)
