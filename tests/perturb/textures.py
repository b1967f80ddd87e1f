"""Clips to perturb."""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_stress.perturb.seeds import generator


def clips(count: int, height: int = 48, width: int = 64, frames: int = 16, seed: int = 0) -> Tensor:
    """Smooth moving textures: neighbouring frames and pixels resemble each other, as in video."""
    draw = generator(seed)
    coarse = torch.from_numpy(draw.random((count, 3, frames // 4 + 1, height // 8, width // 8), dtype="float32"))
    video = torch.nn.functional.interpolate(coarse, (frames, height, width), mode="trilinear", align_corners=True)
    return (0.15 + 0.7 * video).contiguous()
