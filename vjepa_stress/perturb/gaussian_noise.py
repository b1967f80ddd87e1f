"""Additive Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field

from vjepa_stress.interfaces import Perturbation, Video
from vjepa_stress.perturb.seeds import generator


class GaussianNoise(Perturbation):
    """Gaussian noise, x + σ·n with n ~ N(0, 1) per pixel, channel and frame; one field per clip, scaled by strength.

    Attributes:
        sigma_at_full: σ at strength 1, in units of the full range [0, 1] (ImageNet-C spans 0.08 to 0.38).
    """

    kind = "perturbation/gaussian_noise"
    revision = 1
    role = "tier1"
    family = "image-noise"
    correspondence = "in-place"

    sigma_at_full: float = Field(gt=0)

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:
        """Add noise (see the base class)."""
        return self.apply(video, strength, self.draw(video, seeds) if strength else None)

    def draw(self, video: Video, seeds: Sequence[int]) -> Video:
        """Draw the field of each clip: standard normal numbers, float32, on the CPU."""
        noise = np.stack([generator(seed).standard_normal(video.shape[1:], dtype=np.float32) for seed in seeds])
        return torch.from_numpy(noise)

    def apply(self, video: Video, strength: float | None, drawn: Video | None) -> Video:
        """Add the drawn field, scaled by strength."""
        if not strength or drawn is None:
            return video.clone()
        scaled = drawn.to(video.device, video.dtype) * (self.sigma_at_full * strength)
        return scaled.add_(video).clamp_(0, 1)
