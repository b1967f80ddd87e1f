"""Base of encoders with explicit architecture fields, instead of one of the released sizes."""

from __future__ import annotations

from pydantic import model_validator

from vjepa_stress.encoders.vjepa21 import VJEPA21Config
from vjepa_stress.interfaces import Encoder


class Shaped(Encoder):
    """V-JEPA 2.1's architecture in a custom size.

    Attributes:
        embed_dim: channels of a token.
        depth: number of blocks: 12, 24, 40 or 48.
        num_heads: attention heads.
        mlp_ratio: hidden channels of the MLP, divided by channels of a token.
        patch_size: side of a patch in pixels.
        tubelet_size: frames per token.
    """

    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    patch_size: int
    tubelet_size: int

    @property
    def architecture(self) -> VJEPA21Config:
        """The validated architecture."""
        return VJEPA21Config(**self.model_dump(include=set(Shaped.model_fields)))

    @model_validator(mode="after")
    def _possible(self) -> Shaped:
        _ = self.architecture
        return self

    def check_input(self, frames: int, resolution: int) -> None:
        """Refuse clips that do not divide into whole tokens."""
        self.architecture.check_input(frames, resolution)

    def feature_shape(self, frames: int, resolution: int) -> tuple[int, int, int, int]:
        """Temporal positions, rows, columns and channels of the features of one clip."""
        return self.architecture.feature_shape(frames, resolution)
