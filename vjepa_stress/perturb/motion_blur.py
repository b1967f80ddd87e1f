"""Motion blur along a line."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vjepa_stress.interfaces import Perturbation, Video
from vjepa_stress.perturb.seeds import generator


class MotionBlur(Perturbation):
    """Mean along a line segment in a random direction, one direction per clip; borders are reflected.

    The kernel is the segment with bilinear interpolation: the weight of a neighbour is the mean over the segment of
    (1 − |Δrow|)₊·(1 − |Δcolumn|)₊. It is anti-aliased and grows continuously from the identity.

    Attributes:
        length_at_full: length of the segment at strength 1, as a fraction of the frame's width.
    """

    kind = "perturbation/motion_blur"
    revision = 1
    role = "tier1"
    family = "image-noise"
    correspondence = "in-place"

    length_at_full: float = Field(gt=0, le=0.5)

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:
        """Blur the clips (see the base class)."""
        if not strength:
            return video.clone()
        length = self.length_at_full * strength * video.shape[4]
        blurred = [self._blur(clip, length, seed) for clip, seed in zip(video, seeds, strict=True)]
        return torch.stack(blurred).clamp_(0, 1)

    @staticmethod
    def _blur(clip: Float[Tensor, "3 t h w"], length: float, seed: int) -> Float[Tensor, "3 t h w"]:
        kernel = line_kernel(length, generator(seed).uniform(0, math.pi)).to(clip.dtype)
        reach = kernel.shape[0] // 2
        height, width = clip.shape[2:]
        blurred = torch.zeros_like(clip)
        # Most weights are zero, so adding shifted frames is faster than a dense convolution. One frame at a time
        # stays in the CPU cache.
        taps = [(int(r), int(c), float(kernel[r, c])) for r, c in kernel.nonzero()]
        for t in range(clip.shape[1]):
            padded = F.pad(clip[:, t], (reach,) * 4, mode="reflect")
            for row, column, weight in taps:
                blurred[:, t].add_(padded[:, row : row + height, column : column + width], alpha=weight)
        return blurred


def line_kernel(length: float, angle: float) -> Float[Tensor, "k k"]:
    """Weights of a uniform segment through the centre, by the midpoint rule; they sum to 1.

    Args:
        length: in pixels.
        angle: in radians.
    """
    reach = math.ceil(length / 2) + 1
    points = 16 * (2 * reach + 1)
    along = ((torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5) * length
    near = torch.arange(-reach, reach + 1, dtype=torch.float64)
    rows = (1 - (near - along[:, None] * math.sin(angle)).abs()).clamp(min=0)
    columns = (1 - (near - along[:, None] * math.cos(angle)).abs()).clamp(min=0)
    return rows.T @ columns / points
