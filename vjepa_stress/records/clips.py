"""Clip manifests: the clips of a data set in a study."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from vjepa_stress.blocks import ClipRef
from vjepa_stress.digest import canonical_json, parse_json
from vjepa_stress.fields import Frozen, Text
from vjepa_stress.prereg.clips import verified
from vjepa_stress.prereg.schema import validate


class ClipManifest(Frozen):
    """The clips of a data set in a study."""

    schema_: Literal["vjepa-stress/clips/v1"] = Field(alias="schema")
    dataset: Text
    clips: tuple[ClipRef, ...] = Field(min_length=1)

    def to_bytes(self) -> bytes:
        """Canonical bytes. Preregistrations and `launched` leaves hold their digest."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


def read_clips(path: Path, digest: str) -> ClipManifest:
    """Verify the bytes of a clip manifest, then parse them.

    Raises:
        IdentityChanged: when it is missing or has another digest.
    """
    return validate(ClipManifest, parse_json(verified(path, digest), path), path)
