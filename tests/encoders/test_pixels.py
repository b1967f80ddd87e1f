"""Raw pixels as features: every pixel is there once, where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vjepa_stress.encoders.pixels import RawPixels, patches
from vjepa_stress.interfaces import DType
from vjepa_stress.sweep.bind import Blocks

CPU = torch.device("cpu")


def video(frames: int = 4, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.rand(2, 3, frames, height, width, generator=torch.Generator().manual_seed(0))


def test_a_token_is_its_own_pixels() -> None:
    clip = video()
    tokens = patches(clip, 16, 2)
    assert tokens.shape == (2, 2, 2, 3, 1536)
    for t, h, w in ((0, 0, 0), (1, 1, 2), (0, 1, 1)):
        own = clip[:, :, 2 * t : 2 * t + 2, 16 * h : 16 * h + 16, 16 * w : 16 * w + 16]
        assert torch.equal(tokens[:, t, h, w], own.flatten(1))


@pytest.mark.parametrize("shape", [(3, 32, 32), (4, 40, 32), (4, 32, 40)])
def test_what_does_not_divide_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not divide"):
        patches(video(*shape), 16, 2)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 0.02)])
def test_the_shipped_reference(dtype: DType, tolerance: float) -> None:
    encoder = Blocks().encoder("pixels")
    assert encoder == RawPixels(patch_size=16, tubelet_size=2)
    assert encoder.untrained
    loaded = encoder.load(Path(), CPU, dtype, False)
    assert loaded.weights == encoder.identify(Path())
    clip = video()
    found = loaded.encode(clip)
    assert found.dtype == torch.float32
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert float((found - patches((clip - mean) / std, 16, 2)).abs().max()) <= tolerance
