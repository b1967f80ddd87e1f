"""A user's own encoder, in a module of their own: it computes nothing, to show what everything else costs."""

from pathlib import Path

import torch

from vjepa_stress.digest import Digest, sha256
from vjepa_stress.interfaces import DType, Encoder, LoadedEncoder


class Idle(Encoder):
    """Patch means as features; no weights."""

    kind = "encoder/idle"
    revision = 1

    def feature_shape(self, frames: int, resolution: int) -> tuple[int, int, int, int]:
        """Every second frame, every sixteenth pixel, three colours."""
        return (frames + 1) // 2, (resolution + 15) // 16, (resolution + 15) // 16, 3

    def identify(self, store: Path) -> Digest:
        """Digest of no weights."""
        return sha256(b"")

    def load(self, store: Path, device: torch.device, dtype: DType, compiled: bool) -> LoadedEncoder:
        """Load nothing."""
        return LoadedEncoder(sha256(b""), lambda video: video[:, :, ::2, ::16, ::16].permute(0, 2, 3, 4, 1).clone())
