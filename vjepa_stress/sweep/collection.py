"""A data set as a person meets it before a study: is it all there, what does it hold, what will it cost."""

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
from vjepa_stress.sweep.draft import clip_manifest
from vjepa_stress.sweep.progress import duration, progress

ON_THE_SHEET = 30
"""Clips on a contact sheet."""

_THUMBNAIL = 112
_TIMED = 3
_SIZED_FOR = "base"
"""The model that the size of clean features is given for: the smallest released one."""
_FLOAT32 = 4
"""Bytes of one feature."""


@dataclass(frozen=True)
class Collection:
    """A data set on this machine.

    Attributes:
        name: of its configuration.
        blocks: where that lies.
        place: this machine's settings.
        frames: frames a clip.
        resolution: pixels a side that clips are decoded to.
    """

    name: str
    blocks: Blocks
    place: ExecConfig
    frames: int
    resolution: int

    @property
    def dataset(self) -> Dataset:
        """The data set."""
        return self.blocks.dataset(self.name)

    @property
    def home(self) -> Path | None:
        """Its folder."""
        return self.place.home(self.name)

    def manifest(self, full: bool = False) -> bytes:
        """The clip manifest, as registering would pin it; with `full`, from files read now.

        Raises:
            BadInput: when files are missing or unusable.
        """
        place = self.place.model_copy(update={"verify": "full"}) if full else self.place
        return clip_manifest(self.name, self.blocks, place, self.frames)

    def describe(self, manifest: bytes) -> dict[str, Any]:
        """What the clips are, and what a study of them takes; decodes a few to see how long that takes."""
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
        """Decode every clip, and compare with an earlier manifest; all that is wrong is said at once.

        Raises:
            BadInput: when the earlier manifest cannot be read.
            BadVideo: when clips cannot be decoded.
            IdentityChanged: when the clips are not those of the earlier manifest.
        """
        if against is not None and (before := _clips(earlier := _earlier(against))) != (clips := _clips(manifest)):
            known = {clip.digest for clip in before}
            strange = [clip.name for clip in clips if clip.digest not in known]
            raise IdentityChanged(
                f"the clips are not those of {against.name}",
                where=against,
                expected=sha256(earlier),
                found=f"{sha256(manifest)}; others or in another order: {', '.join(strange[:10]) or 'order alone'}",
                fix="put the files back, or prepare again",
            )
        broken, clips = [], _clips(manifest)
        with progress(f"decoding {self.name}", len(clips)) as advance:
            for clip in clips:
                try:
                    if self.dataset.read(clip, self.home, self.resolution).digest != clip.digest:
                        broken.append(f"{clip.name}: changed while it was verified")
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
            (clip.name, sample) for clip, sample in self._samples(_clips(manifest)[:ON_THE_SHEET], _THUMBNAIL)
        )
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            sheet.save(path, "PNG")

    def keep(self, manifest: bytes, folder: Path) -> Path:
        """Write the clip manifest to a folder."""
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
            expected="a file that `data prepare` wrote",
            found=error.strerror,
            fix="give its path",
        ) from error


def _clips(manifest: bytes) -> tuple[ClipRef, ...]:
    return validate(ClipManifest, parse_json(manifest), "clip manifest").clips
