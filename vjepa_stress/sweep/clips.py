"""The clips of a data set: identify them, and refuse clips that overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vjepa_stress.blocks import ClipRef
from vjepa_stress.data.inspection import ReadOptions, inspecting
from vjepa_stress.digest import Digest, parse_json
from vjepa_stress.errors import BadInput, NotHere
from vjepa_stress.records import ClipManifest
from vjepa_stress.sweep.bind import Blocks, ExecConfig
from vjepa_stress.sweep.progress import counting


def clip_manifest(name: str, blocks: Blocks, exec_config: ExecConfig, frames: int) -> bytes:
    """Identify the clips of a data set and build the bytes of its clip manifest.

    Raises:
        BadInput: when files are missing or unusable, or two clips of one source share a frame.
    """
    with counting(f"reading {name}") as progress, inspecting(ReadOptions(exec_config.verify == "full", progress)):
        try:
            clips = blocks.dataset(name).identify(exec_config.home(name), frames)
        except NotHere as error:  # a data set does not know its name, which the setting in the fix needs
            fix = (error.fix or "").replace("NAME", name)
            raise NotHere(error.what, where=name, expected=error.expected, found=error.found, fix=fix) from error
    _refuse_overlaps(name, clips)
    data = ClipManifest(schema="vjepa-stress/clips/v1", dataset=name, clips=clips).to_bytes()
    parse_json(data, f"clips of {name}")  # refuses names that no document can contain, before anything is logged
    return data


def check_sources(name: str, manifest: bytes, expected: int) -> None:
    """Refuse a clip manifest with another number of distinct sources than registered.

    Raises:
        BadInput: with both numbers.
    """
    found = len({clip["source"] for clip in parse_json(manifest)["clips"]})
    if found != expected:
        raise BadInput(
            "the clips have another number of sources than registered",
            where=name,
            expected=f"{expected} sources",
            found=f"{found} sources",
            fix="correct `n_sources` of the class of the data set, which is registered with it",
        )


def _refuse_overlaps(name: str, clips: Iterable[ClipRef]) -> None:
    user: dict[tuple[Digest, int], str] = {}
    shared = Counter[tuple[str, str]]()
    for clip in clips:
        for frame in clip.frames:
            other = user.setdefault((clip.source, frame), clip.name)
            shared[other, clip.name] += other is not clip.name
    overlaps = [f"{one} and {other} share {n} frames" for (one, other), n in shared.items() if n]
    if overlaps:
        raise BadInput(
            "clips of one source overlap",
            where=name,
            expected="each frame of a source in at most one clip",
            found="; ".join(overlaps[:3]),
            fix="take fewer clips of each source, shorter clips, or a smaller stride",
        )
