"""Lost frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field

from vjepa_stress.interfaces import Perturbation, Video
from vjepa_stress.perturb.seeds import generator


class FrameDrops(Perturbation):
    """Frames after the first are lost at random; the last received frame replaces a lost frame.

    ⌊share_at_full · s · (T−1) + ½⌋ frames are lost: the first ones of a random order, one order per clip. A stronger
    perturbation therefore loses the same frames and more.

    Attributes:
        share_at_full: share of the frames after the first that are lost at strength 1.
    """

    kind = "perturbation/frame_drops"
    revision = 1
    role = "tier1"
    family = "time-axis"
    correspondence = "in-place"

    share_at_full: float = Field(gt=0, le=1)

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:
        """Drop frames (see the base class)."""
        if not strength:
            return video.clone()
        frames = video.shape[2]
        lost = math.floor(self.share_at_full * strength * (frames - 1) + 0.5)
        shown = torch.stack([self._shown(frames, lost, seed) for seed in seeds]).to(video.device)
        index = shown[:, None, :, None, None].expand_as(video)
        return video.gather(2, index)

    @staticmethod
    def _shown(frames: int, lost: int, seed: int) -> torch.Tensor:
        """Number of the frame that is shown at each time, (T,)."""
        order = generator(seed).permutation(frames - 1) + 1
        shown = torch.arange(frames)
        shown[torch.from_numpy(order[:lost])] = 0
        return shown.cummax(0).values
