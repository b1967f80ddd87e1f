"""Motion blur: the kernel of a line, and the blur against scipy's convolution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from tests.perturb.textures import clips
from vjepa_stress.perturb.motion_blur import MotionBlur, line_kernel
from vjepa_stress.perturb.seeds import generator


@pytest.mark.parametrize("length", [0.3, 1.0, 4.7, 12.8])
@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, 2.5])
def test_the_kernel_is_a_line(length: float, angle: float) -> None:
    kernel = line_kernel(length, angle)
    reach = kernel.shape[0] // 2
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    assert float(kernel.min()) >= 0
    rows, columns = kernel.sum(1), kernel.sum(0)
    assert float(rows @ offsets) == pytest.approx(0, abs=1e-9)
    assert float(columns @ offsets) == pytest.approx(0, abs=1e-9)
    # Along the line the variance of a uniform segment is L²/12, to which interpolation adds at most 1/4 a axis.
    spread = float(rows @ offsets**2 + columns @ offsets**2)
    assert length**2 / 12 - 0.01 <= spread <= length**2 / 12 + 0.51
    # The covariance of rows and columns is that of the line itself: interpolation adds none.
    expected = length**2 / 12 * math.sin(angle) * math.cos(angle)
    assert float(offsets @ kernel @ offsets) == pytest.approx(expected, abs=0.02)


def test_a_horizontal_kernel_is_a_moving_average() -> None:
    kernel = line_kernel(4.0, 0.0)
    expected = torch.zeros_like(kernel)
    reach = kernel.shape[0] // 2
    expected[reach, reach - 2 : reach + 3] = torch.tensor([0.125, 0.25, 0.25, 0.25, 0.125], dtype=torch.float64)
    torch.testing.assert_close(kernel, expected, atol=1e-3, rtol=0)


def test_a_quarter_turn_of_the_angle_turns_the_kernel() -> None:
    torch.testing.assert_close(line_kernel(5.3, 0.4 + math.pi / 2), line_kernel(5.3, 0.4).rot90(1, (1, 0)))


def test_the_blur_is_a_convolution_with_reflected_borders() -> None:
    video, block = clips(2, 24, 32, frames=4), MotionBlur(length_at_full=0.2)
    found = block(video, 0.8, [7, 8])
    for clip, blurred, seed in zip(video.double().numpy(), found.numpy(), (7, 8), strict=True):
        kernel = line_kernel(0.2 * 0.8 * 32, generator(seed).uniform(0, math.pi)).numpy()
        expected = convolve(clip, kernel[None, None, ::-1, ::-1], mode="mirror")
        np.testing.assert_allclose(blurred, expected, atol=1e-6)
