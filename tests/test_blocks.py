"""References to clips: they cannot say that they are another clip than they are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vjepa_stress.blocks import ClipRef, clip_digest
from vjepa_stress.digest import digest_of, sha256
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.schema import validate
from vjepa_stress.records import ClipManifest

SOURCE = sha256(b"a video")


def test_a_clip_is_its_source_and_its_frames_and_not_its_name() -> None:
    clip = ClipRef.of("a", SOURCE, range(0, 6, 2), ["shorter"])
    assert clip.digest == digest_of({"source": SOURCE, "frames": [0, 2, 4]})
    assert ClipRef.of("b", SOURCE, (0, 2, 4)).digest == clip.digest
    others = {ClipRef.of("a", SOURCE, (0, 2, 5)).digest, ClipRef.of("a", sha256(b"other"), (0, 2, 4)).digest}
    assert clip.digest not in others
    assert len(others) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"frames": (0, 2, 5)},
        {"source": sha256(b"other")},
        {"digest": SOURCE},
        {"name": ""},
        {"notes": ("",)},
        {"frames": (), "digest": clip_digest(SOURCE, ())},
        {"frames": (-1, 0), "digest": clip_digest(SOURCE, (-1, 0))},
    ],
)
def test_a_false_reference_cannot_be_made_and_a_manifest_with_one_is_refused(change: dict[str, Any]) -> None:
    value = ClipRef.of("a", SOURCE, (0, 2, 4)).model_dump()
    assert ClipRef.model_validate(value).model_dump() == value
    with pytest.raises(ValidationError):
        ClipRef.model_validate(value | change)
    manifest = {"schema": "vjepa-stress/clips/v1", "dataset": "d", "clips": [value | change]}
    with pytest.raises(BadDocument, match=r"clips\.0"):
        validate(ClipManifest, manifest, "manifest")
