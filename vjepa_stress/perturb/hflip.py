"""Horizontal mirroring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from vjepa_stress.interfaces import Features, Perturbation, Video


class HorizontalFlip(Perturbation):
    """Frames mirrored left–right."""

    kind = "perturbation/horizontal_flip"
    revision = 1
    role = "probe"
    family = "geometry"
    correspondence = "mirrored"

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:  # noqa: ARG002
        """Mirror each frame (probe: `strength` and `seeds` are not used)."""
        return video.flip(4)

    def align(self, features: Features, strength: float | None) -> tuple[Features, Bool[Tensor, "h w"]]:  # noqa: ARG002
        """Mirror the columns back."""
        return features.flip(3), torch.ones(features.shape[2:4], dtype=torch.bool, device=features.device)
