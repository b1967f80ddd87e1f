"""Rotation about the optical axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from vjepa_stress.interfaces import Features, Perturbation, Video


class CameraRoll(Perturbation):
    """All frames rotated about the centre by the same angle, counter-clockwise; bilinear, with reflected borders.

    Attributes:
        degrees_at_full: angle at strength 1, in degrees.
    """

    kind = "perturbation/camera_roll"
    revision = 1
    role = "tier2"
    family = "geometry"
    correspondence = "rotated"

    degrees_at_full: float = Field(gt=0, le=180)

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:  # noqa: ARG002
        """Rotate the frames; `seeds` is not used."""
        if not strength:
            return video.clone()
        height, width = video.shape[3:]
        grid = self._grid(height, width, -strength, video.device).to(video.dtype)
        turned = [
            F.grid_sample(
                clip.transpose(0, 1), grid.expand(clip.shape[1], -1, -1, -1), "bilinear", "reflection", False
            )
            for clip in video
        ]
        return torch.stack(turned).transpose(1, 2).clamp_(0, 1)

    def align(self, features: Features, strength: float | None) -> tuple[Features, Bool[Tensor, "h w"]]:
        """Rotate the feature grid back, bilinearly; positions with content outside the frame have no counterpart."""
        height, width = features.shape[2:4]
        grid = self._grid(height, width, strength or 0.0, features.device)
        # A position counts if its source in the perturbed clip is inside the outermost patch centres.
        limit = torch.tensor([1 - 1 / width, 1 - 1 / height], dtype=torch.float64, device=features.device)
        inside = (grid.abs() <= limit + 1e-9).all(-1)
        maps = features.flatten(0, 1).movedim(-1, 1)
        turned = F.grid_sample(
            maps, grid.to(maps.dtype).expand(maps.shape[0], -1, -1, -1), "bilinear", "border", align_corners=False
        )
        return turned.movedim(1, -1).reshape(features.shape), inside

    def _grid(
        self, height: int, width: int, strength: float, device: torch.device
    ) -> Float[Tensor, "{height} {width} 2"]:
        """Source of each output position, in the coordinates of `grid_sample`, for a rotation by `strength`."""
        angle = math.radians(self.degrees_at_full * strength)
        rows = (torch.arange(height, dtype=torch.float64, device=device) + 0.5 - height / 2)[:, None]
        columns = (torch.arange(width, dtype=torch.float64, device=device) + 0.5 - width / 2)[None]
        across = columns * math.cos(angle) + rows * math.sin(angle)
        down = rows * math.cos(angle) - columns * math.sin(angle)
        return torch.stack([across * (2 / width), down * (2 / height)], dim=-1)
