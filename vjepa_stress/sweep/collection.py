"""Inspect a data set before a study: is it complete, what does it contain, what does a sweep cost."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_stress.blocks import ClipRef
from vjepa_stress.data.contact import contact_sheet
from vjepa_stress.digest import parse_json, sha256
from vjepa_stress.disk import write_durably, writing
from vjepa_stress.errors import BadInput, BadVideo, IdentityChanged
from vjepa_stress.interfaces import Dataset, Sample
from vjepa_stress.prereg.schema import validate
from vjepa_stress.records import ClipManifest
from vjepa_stress.sweep.bind import Blocks, ExecConfig
from vjepa_stress.sweep.clips import clip_manifest
from vjepa_stress.sweep.progress import progress
from vjepa_stress.terminal import duration

CLIPS_ON_SHEET = 30
"""Number of clips on a contact sheet."""

_THUMBNAIL = 112
_TIMED = 3
_SIZED_FOR = "base"
"""The model for which the size of clean features is reported: the smallest released one."""
_FLOAT32 = 4
"""Bytes per feature value."""


@dataclass(frozen=True)
class Collection:
    """A data set on this machine.

    Attributes:
        name: name of its YAML file.
        blocks: the building blocks that can be named.
        exec_config: settings of this machine.
        frames: frames per clip.
        resolution: height and width of decoded clips, in pixels.
    """

    name: str
    blocks: Blocks
    exec_config: ExecConfig
    frames: int
    resolution: int

    @property
    def dataset(self) -> Dataset:
        """The data set."""
        return self.blocks.dataset(self.name)

    @property
    def home(self) -> Path | None:
        """The folder of its files."""
        return self.exec_config.home(self.name)

    def manifest(self, full: bool = False) -> bytes:
        """The clip manifest that `register` would pin; with `full`, all source files are read again.

        Raises:
            BadInput: when files are missing or unusable.
        """
        exec_config = self.exec_config.model_copy(update={"verify": "full"}) if full else self.exec_config
        return clip_manifest(self.name, self.blocks, exec_config, self.frames)

    def describe(self, manifest: bytes) -> dict[str, Any]:
        """Number and size of the clips, and the disk space and time they need; decodes a few to measure the time."""
        clips = _clips(manifest)
        started = time.perf_counter()
        timed = [sample for _, sample in self._samples(clips[:_TIMED], self.resolution)]
        seconds = (time.perf_counter() - started) / len(timed)
        notes = Counter(note.split(":")[0] for clip in clips for note in clip.notes)
        masks = [sample.masks for sample in timed]
        values = self.frames * self.resolution**2
        features = math.prod(self.blocks.encoder(_SIZED_FOR).feature_shape(self.frames, self.resolution))
        return {
            "data_set": self.name,
            "clips": len(clips),
            "sources": len({clip.source for clip in clips}),
            "frames": self.frames,
            "resolution": self.resolution,
            "clip_manifest_digest": sha256(manifest),
            "annotated": masks[0] is not None,
            "notes": dict(notes),
            "mebibytes_decoded": round(len(clips) * values * (4 if masks[0] is not None else 3) / 2**20, 1),
            f"mebibytes_of_features_{_SIZED_FOR}": round(len(clips) * features * _FLOAT32 / 2**20, 1),
            "seconds_to_decode": round(seconds * len(clips), 1),
            "time_to_decode": duration(seconds * len(clips)),
        }

    def verify(self, manifest: bytes, against: Path | None) -> dict[str, Any]:
        """Decode every clip and compare with an earlier manifest; one error lists all damaged clips.

        Raises:
            BadInput: when the earlier manifest cannot be read.
            BadVideo: when clips cannot be decoded.
            IdentityChanged: when the clips differ from those of the earlier manifest.
        """
        clips = _clips(manifest)
        if against is not None and (before := _clips(earlier := _earlier(against))) != clips:
            known = {clip.digest for clip in before}
            strange = [clip.name for clip in clips if clip.digest not in known]
            raise IdentityChanged(
                f"the clips differ from those of {against.name}",
                where=against,
                expected=sha256(earlier),
                found=f"{sha256(manifest)}; "
                + (
                    f"clips not in the manifest: {', '.join(strange[:10])}"
                    if strange
                    else "other order or fewer clips"
                ),
                fix=f"restore the files, or write a new manifest: vjepa-stress data prepare {self.name}",
            )
        broken = []
        with progress(f"decoding {self.name}", len(clips)) as advance:
            for clip in clips:
                try:
                    if self.dataset.read(clip, self.home, self.resolution).digest != clip.digest:
                        broken.append(f"{clip.name}: changed during verification")
                except BadInput as error:
                    broken.append(f"{clip.name}: {error.what}" + (f" ({error.found})" if error.found else ""))
                advance(clip.name)
        if broken:
            raise BadVideo(
                f"{len(broken)} of {len(clips)} clips cannot be decoded",
                where=self.home,
                found="".join(f"\n    {line}" for line in broken),
                fix="copy or download these files again",
            )
        return {
            "data_set": self.name,
            "clips": len(clips),
            "clip_manifest_digest": sha256(manifest),
            "decoded": "all",
        }

    def draw(self, manifest: bytes, path: Path) -> None:
        """Write a contact sheet (PNG) of the first clips, with their masks."""
        sheet = contact_sheet(
            (clip.name, sample) for clip, sample in self._samples(_clips(manifest)[:CLIPS_ON_SHEET], _THUMBNAIL)
        )
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            sheet.save(path, "PNG")

    def keep(self, manifest: bytes, folder: Path) -> Path:
        """Write the clip manifest to a folder; return its path."""
        path = folder / f"{self.name}.clips.json"
        write_durably(path, manifest)
        return path

    def _samples(self, clips: tuple[ClipRef, ...], resolution: int) -> Iterator[tuple[ClipRef, Sample]]:
        dataset = self.dataset
        for clip in clips:
            yield clip, dataset.read(clip, self.home, resolution)


def _earlier(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            "the earlier clip manifest cannot be read",
            where=path,
            expected="a file that `vjepa-stress data prepare` wrote",
            found=error.strerror,
            fix="correct the path after --against",
        ) from error


def _clips(manifest: bytes) -> tuple[ClipRef, ...]:
    return validate(ClipManifest, parse_json(manifest), "clip manifest").clips
