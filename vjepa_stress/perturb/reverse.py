"""Time reversal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from vjepa_stress.interfaces import Features, Perturbation, Video


class Reverse(Perturbation):
    """Frames in reverse order."""

    kind = "perturbation/reverse"
    revision = 1
    role = "probe"
    family = "time-axis"
    correspondence = "time-reversed"

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:  # noqa: ARG002
        """Reverse time (probe: `strength` and `seeds` are not used)."""
        return video.flip(2)

    def align(self, features: Features, strength: float | None) -> tuple[Features, Bool[Tensor, "h w"]]:  # noqa: ARG002
        """Reverse the temporal positions; gradients of the result have the sign and order of the clean clip's."""
        return features.flip(1), torch.ones(features.shape[2:4], dtype=torch.bool, device=features.device)
