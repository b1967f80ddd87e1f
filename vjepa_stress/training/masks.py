"""Masks of hidden tokens: blocks of patches, the same in all frames (tubes)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import distance_transform_edt


@dataclass(frozen=True)
class Blocks:
    """A kind of mask (V-JEPA, arXiv:2404.08471, section 3).

    Attributes:
        count: number of blocks, which may overlap.
        area: area of each block, as a fraction of the grid.
    """

    count: int
    area: float


SHORT_RANGE, LONG_RANGE = Blocks(8, 0.15), Blocks(2, 0.7)
"""Many small blocks, and two large blocks; each clip is used once with a mask of each kind."""

_ASPECT = 0.75, 1.5
_LEAST_VISIBLE = 0.06
"""Smallest fraction of patches that a mask leaves visible."""


def draw_mask(draws: np.random.Generator, blocks: Blocks, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Draw one mask: True where a patch is hidden."""
    while True:
        hidden = np.zeros((height, width), bool)
        for _ in range(blocks.count):
            aspect = draws.uniform(*_ASPECT)
            tall = min(height, max(1, round(math.sqrt(blocks.area * height * width * aspect))))
            wide = min(width, max(1, round(math.sqrt(blocks.area * height * width / aspect))))
            top, left = draws.integers(height - tall + 1), draws.integers(width - wide + 1)
            hidden[top : top + tall, left : left + wide] = True
        if _LEAST_VISIBLE * hidden.size <= np.count_nonzero(~hidden) < hidden.size:
            return hidden


def context_weights(hidden: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """Weight of each visible patch in the loss: 1 / √d, with the distance d to the nearest hidden patch in patches.

    Returns:
        (H, W) float64; 0 for hidden patches. Masks are tubes, so weights are the same in every frame.

    Source: V-JEPA 2.1 (arXiv:2603.14482), dense predictive loss.
    """
    distance = distance_transform_edt(~hidden)
    return np.where(hidden, 0.0, 1.0 / np.sqrt(np.maximum(distance, 1.0)))
