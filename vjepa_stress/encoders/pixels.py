"""Raw pixels instead of features: a control that gives every M3 a floor."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from vjepa_stress.digest import Digest, sha256
from vjepa_stress.encoders.released import imagenet_colours
from vjepa_stress.encoders.vjepa21 import check_divides
from vjepa_stress.interfaces import DType, Encoder, Features, LoadedEncoder, Video


class RawPixels(Encoder):
    """A control without weights: each token is the pixels of its patch, normalised as the input of other encoders.

    Attributes:
        patch_size: side of a patch in pixels.
        tubelet_size: frames per token.
    """

    kind: ClassVar[str] = "encoder/raw_pixels"
    revision: ClassVar[int] = 1
    untrained: ClassVar[bool] = True

    patch_size: int = Field(ge=1)
    tubelet_size: int = Field(ge=1)

    def check_input(self, frames: int, resolution: int) -> None:
        """Refuse clips that do not divide into whole tokens."""
        check_divides(frames, resolution, self.patch_size, self.tubelet_size)

    def feature_shape(self, frames: int, resolution: int) -> tuple[int, int, int, int]:
        """Temporal positions, rows, columns and channels of the features of one clip."""
        side = resolution // self.patch_size
        return frames // self.tubelet_size, side, side, 3 * self.tubelet_size * self.patch_size**2

    def identify(self, store: Path) -> Digest:  # noqa: ARG002 - nothing is stored
        """Digest of no bytes: there are no weights."""
        return sha256(b"")

    def load(
        self,
        store: Path,  # noqa: ARG002 - nothing is stored
        device: torch.device,
        dtype: DType,
        compiled: bool,  # noqa: ARG002 - nothing to compile
    ) -> LoadedEncoder:
        """Return the function from clips to patches of pixels."""
        kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
        mean, std = imagenet_colours(device)

        def encode(video: Video) -> Features:
            normalised = (video.to(device=device, dtype=torch.float32) - mean) / std
            return patches(normalised.to(kind).float(), self.patch_size, self.tubelet_size)

        return LoadedEncoder(weights=sha256(b""), encode=encode)


def patches(video: Video, patch_size: int, tubelet_size: int) -> Features:
    """Cut video (B, 3, T, H, W) into tokens (B, T', H', W', 3 · tubelet · patch²).

    Raises:
        ValueError: when frames, rows or columns do not divide evenly.
    """
    batch, colours, frames, height, width = video.shape
    if frames % tubelet_size or height % patch_size or width % patch_size:
        raise ValueError(
            f"{frames} frames of {height}×{width} pixels do not divide into tubelets of {tubelet_size} frames "
            f"and patches of {patch_size} pixels"
        )
    t, h, w = frames // tubelet_size, height // patch_size, width // patch_size
    cut = video.reshape(batch, colours, t, tubelet_size, h, patch_size, w, patch_size)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, t, h, w, -1)
