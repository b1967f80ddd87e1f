"""A disc that crosses the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vjepa_stress.interfaces import Perturbation, Video
from vjepa_stress.perturb.seeds import generator


class Occlusion(Perturbation):
    """An opaque disc crosses the frame during the clip on a random straight path, the same for all strengths.

    The centre of the disc is at the border of the frame in the first and in the last frame. Its edge is anti-aliased
    over one pixel.

    Attributes:
        area_at_full: area of the disc at strength 1, as a fraction of the frame.
        grey: brightness of the disc, in [0, 1].
        largest_offset: largest distance of the path from the frame's centre, as a fraction of the shorter side.
    """

    kind = "perturbation/occlusion"
    revision = 1
    role = "tier1"
    family = "time-axis"  # grouped so because the hidden content changes over time
    correspondence = "in-place"

    area_at_full: float = Field(gt=0, le=1)
    grey: float = Field(ge=0, le=1)
    largest_offset: float = Field(ge=0, lt=0.5)

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:
        """Cover a part of each frame (see the base class)."""
        if not strength:
            return video.clone()
        height, width = video.shape[3:]
        radius = math.sqrt(self.area_at_full * strength * height * width / math.pi)
        centres = torch.stack([self._path(video.shape[2], height, width, seed) for seed in seeds]).to(video.device)
        rows = torch.arange(height, device=video.device, dtype=torch.float32) + 0.5
        columns = torch.arange(width, device=video.device, dtype=torch.float32) + 0.5
        down = (rows - centres[..., :1]).square()
        across = (columns - centres[..., 1:]).square()
        distance = (down[..., :, None] + across[..., None, :]).sqrt_()
        cover = (radius + 0.5 - distance).clamp_(0, 1).to(video.dtype)[:, None]
        return torch.lerp(video, torch.full_like(video, self.grey), cover).clamp_(0, 1)

    def _path(self, frames: int, height: int, width: int, seed: int) -> Float[Tensor, "t 2"]:
        """Centre (row, column) of the disc in each frame, in pixels."""
        draw = generator(seed)
        angle = draw.uniform(0, 2 * math.pi)
        offset = draw.uniform(-self.largest_offset, self.largest_offset) * min(height, width)
        toward = (math.sin(angle), math.cos(angle))
        middle = (height / 2 + offset * toward[1], width / 2 - offset * toward[0])
        # The chord through `middle`: the distance to the border of the frame, backwards and forwards.
        steps = [
            (edge - at) / speed
            for at, speed, size in zip(middle, toward, (height, width), strict=True)
            if abs(speed) > 1e-9
            for edge in (0, size)
        ]
        start = max(step for step in steps if step <= 0)
        end = min(step for step in steps if step > 0)
        way = torch.linspace(start, end, frames, dtype=torch.float64)[:, None]
        return (torch.tensor(middle, dtype=torch.float64) + way * torch.tensor(toward, dtype=torch.float64)).float()
