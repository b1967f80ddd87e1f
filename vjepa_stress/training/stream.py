"""An endless stream of rendered training clips: a pure function of seed and index, without files."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vjepa_stress.data.procedural import render
from vjepa_stress.data.texture import Draws, smooth
from vjepa_stress.digest import digest_of

SIDES = (1.0, 1.17, 1.34)
"""Sides of rendered clips, in units of the side of the crop: objects appear at three scales."""


def training_clip(
    seed: int, index: int, *, frames: int, rendered: int, size: int
) -> UInt8[Tensor, "3 {frames} {size} {size}"]:
    """One clip of the stream: a rendered scene, randomly cropped, mirrored, reversed and lit.

    Held-out clips come from `data.procedural.Procedural`, whose scenes have other seeds; the stream does not contain
    them.

    Args:
        seed: seed of the stream.
        index: index of the clip.
        frames: consecutive frames of the clip, from a random start.
        rendered: frames of the rendered scene.
        size: height and width of the clip in pixels.

    Returns:
        8-bit RGB.
    """
    scene = int(digest_of({"stream": "pretraining", "seed": seed, "index": index}).hex, 16)
    draws = Draws(scene + 1)  # the renderer uses the seed `scene`
    side = round(size * SIDES[draws.below(len(SIDES))])
    video, _ = render(scene, frames=rendered, size=side)
    first, top, left = draws.below(rendered - frames + 1), draws.below(side - size + 1), draws.below(side - size + 1)
    video = video[first : first + frames, top : top + size, left : left + size]
    if draws.below(2):
        video = video[:, :, ::-1]
    if draws.below(2):
        video = video[::-1]
    return torch.from_numpy(np.ascontiguousarray(_lit(video, draws).transpose(3, 0, 1, 2)))


def _lit(video: UInt8[np.ndarray, "t s s 3"], draws: Draws) -> UInt8[np.ndarray, "t s s 3"]:
    """Apply random light that changes slowly within the clip: a gain for each colour and a common offset."""
    eased = smooth(np.arange(len(video)) / max(1, len(video) - 1))[:, None]
    common = draws.between(0.7, 1.2)
    gain = common * np.array([[draws.between(0.9, 1.1) for _ in range(3)]]) * (1 + draws.between(-0.25, 0.25) * eased)
    offset = draws.between(-12.0, 12.0) + draws.between(-10.0, 10.0) * eased
    # A look-up table of 256 values per frame and colour.
    table = np.clip(np.arange(256) * gain[..., None] + offset[..., None] + 0.5, 0, 255).astype(np.uint8)
    lit = np.empty_like(video)
    for frame, of_frame in enumerate(table):
        for colour, values in enumerate(of_frame):
            lit[frame, ..., colour] = values[video[frame, ..., colour]]
    return lit
