"""Building blocks as documents see them, without torch: what identifies a block or a clip, and the vocabularies that
kernels, documents and judging share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vjepa_stress.digest import Digest, digest_of

Correspondence = Literal["in-place", "time-reversed", "mirrored", "rotated"]
"""How positions of a perturbed clip map to positions of the clean clip."""

PerturbationRole = Literal["tier1", "tier2", "probe"]
"""Tier 1 and 2 have strengths; a probe has a known expected result and runs once."""

Family = Literal["image-noise", "time-axis", "geometry", "calibration"]
"""What a perturbation disturbs."""

Compares = Literal["positions", "regions"]
"""What a metric compares between a clean and a perturbed clip."""

ModelRole = Literal["subject", "control"]
"""Rules judge subjects; a control cannot know anything and stands beside them."""

SCHEMA_PREFIX = "vjepa-stress"


class Block(BaseModel):
    """Base of all building blocks: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def spec(self) -> dict[str, Any]:
        """Everything that identifies this block: its class and all its fields, as JSON values."""
        kind = type(self)
        return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **self.model_dump(mode="json")}

    def spec_digest(self) -> Digest:
        """Digest of `spec`, as a preregistration holds it."""
        return digest_of(self.spec())


class ClipRef(BaseModel):
    """The identity of one clip: which bytes, which frames.

    Attributes:
        digest: digest of `source` and `frames`; two clips are the same clip exactly when these agree.
        name: where a person finds it; not part of the identity.
        source: SHA-256 of the source file (for rendered clips: of specification and seed).
        frames: indices of the frames in display order, counted from 0.
        notes: what had to be adapted (a shorter stride, a rotation flag, a variable frame rate).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    name: str
    source: Digest
    frames: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, source: Digest, frames: Sequence[int], notes: Sequence[str] = ()) -> ClipRef:
        """Build a reference and its digest."""
        return cls(
            digest=clip_digest(source, frames), name=name, source=source, frames=tuple(frames), notes=tuple(notes)
        )


def clip_digest(source: Digest, frames: Sequence[int]) -> Digest:
    """Digest that identifies a clip: its source bytes and its frame indices."""
    return digest_of({"source": source, "frames": list(frames)})
