"""Something-Something V2: a folder of WebM files by number, and a JSON with the label of each."""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import Field

from vjepa_stress.blocks import ClipRef, clip_digest
from vjepa_stress.data import video
from vjepa_stress.data.inspection import Facts, bytes_of, different, inspect, unusable
from vjepa_stress.digest import sha256
from vjepa_stress.errors import BadInput, BadVideo, NotHere
from vjepa_stress.interfaces import Dataset, Sample

VIDEO_FOLDERS = ("20bn-something-something-v2", "videos", ".")
"""Where the WebM files may lie, as the official archives unpack and as people rename it."""

_LABEL_FOLDERS = ("labels", ".")
_LISTED = 10


@dataclass(frozen=True)
class Label:
    """What the JSON says of a video.

    Attributes:
        number: the video's file name without its ending.
        template: the action with its objects left open; videos are drawn in proportion from all templates.
    """

    number: str
    template: str


class SSv2(Dataset):
    """Clips of Something-Something V2: one a video, its frames spread evenly over the whole of it.

    The videos are about four seconds long, too short for the stride of 4 that the encoders' release uses, and a frame
    shown twice would look like a standstill. Which videos are taken depends on `selection_seed` and the labels alone:
    not on the machine, nor on which files are there. A file that cannot be used is an error, never replaced.

    Attributes:
        n_clips: videos in all; the first n of a longer choice are the choice of n.
        selection_seed: chooses the videos; below 2**53.
        labels: name of the JSON, in the folder or its `labels` folder: a list of objects with `id` and `template`.
    """

    kind = "dataset/ssv2"
    revision = 1

    n_clips: int = Field(ge=1)
    selection_seed: int = Field(ge=0, lt=2**53)
    labels: str = Field(pattern=r"^[\w.-]+\.json$")

    def identify(self, home: Path | None, frames: int) -> tuple[ClipRef, ...]:
        """Choose the videos, and read each once; what was read before and has not changed is not read again.

        Raises:
            NotHere: when no folder was given.
            BadInput: when the labels or enough of them are not there, or two chosen videos are the same file.
            BadVideo: when chosen files are missing, damaged or too short; names up to ten of them at once.
        """
        folder, labels = self.places(home)
        everything = read_labels(labels)
        if len(everything) < self.n_clips:
            raise BadInput(
                "there are not enough videos for the clips asked for",
                where=labels,
                expected=f"{self.n_clips} labels",
                found=f"{len(everything)} labels",
                fix="lower n_clips, or use the labels of a larger split",
            )
        self._warn_of_absent(everything, folder, labels)
        numbers = [label.number for label in choose(everything, self.n_clips, self.selection_seed)]
        found, failures = inspect({n: folder / f"{n}.webm" for n in numbers}, "webm-2", _look)
        clips = []
        for number, inspected in found.items():
            try:
                indices = spread(inspected.facts["frames"], frames, folder / f"{number}.webm")
            except BadVideo as error:
                failures.append(error)
                continue
            clips.append(ClipRef.of(f"{number}.webm", inspected.digest, indices, inspected.facts["notes"]))
        if failures:
            raise unusable(failures, f"{len(failures)} of the {self.n_clips} chosen videos")
        different({clip.name: clip.source for clip in clips}, folder)
        return tuple(clips)

    def read(self, clip: ClipRef, home: Path | None, resolution: int) -> Sample:
        """Read the clip's file anew, and decode, resize and crop its frames from the bytes read.

        Raises:
            BadInput: as `identify`, and for the name of no such video.
            BadVideo: when the file is gone or cannot be decoded.
        """
        if not (clip.name.endswith(".webm") and clip.name[:-5].isascii() and clip.name[:-5].isdecimal()):
            raise BadInput("this is not the name of a video of Something-Something V2", where=clip.name)
        path = self.places(home)[0] / clip.name
        data = bytes_of(path)
        pixels = video.fit(video.decode(data, clip.frames, path), resolution)
        return Sample(pixels=pixels, digest=clip_digest(sha256(data), clip.frames))

    def places(self, home: Path | None) -> tuple[Path, Path]:
        """The folder of videos, and the labels.

        Raises:
            NotHere, BadInput: when they are not there.
        """
        if home is None:
            raise NotHere(
                "Something-Something V2 is not here",
                expected=f"{VIDEO_FOLDERS[0]}/*.webm and labels/{self.labels}",
                found="none was given",
                fix="get it from its publisher, Qualcomm, after registration there, "
                "then say where it lies: 'exec.data={NAME: /path/to/ssv2}'",
            )
        folders = [home / name for name in VIDEO_FOLDERS]
        folder = next((place for place in folders if _holds_videos(place)), None)
        files = [home / name / self.labels for name in _LABEL_FOLDERS]
        labels = next((place for place in files if place.is_file()), None)
        if folder is None or labels is None:
            raise BadInput(
                "this is not the folder of Something-Something V2",
                where=home,
                expected="WebM files in one of "
                + ", ".join(VIDEO_FOLDERS)
                + f"; {self.labels} in one of "
                + ", ".join(_LABEL_FOLDERS),
                found=("no WebM file" if folder is None else f"videos in {folder.name}")
                + "; "
                + ("no labels" if labels is None else "labels"),
                fix="unpack the videos, or point to the folder they were unpacked in",
            )
        return folder, labels

    @staticmethod
    def _warn_of_absent(everything: Sequence[Label], folder: Path, labels: Path) -> None:
        there = {entry.name for entry in os.scandir(folder)}
        absent = [label.number for label in everything if f"{label.number}.webm" not in there]
        if absent:
            logging.getLogger(__name__).warning(
                "%d of the %d videos that %s lists are not in %s (an error follows if any was chosen): %s",
                len(absent),
                len(everything),
                labels.name,
                folder,
                ", ".join(absent[:_LISTED]) + (", …" if len(absent) > _LISTED else ""),
            )


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read a JSON of labels, in its own order.

    Raises:
        BadInput: when it is no list of objects with an `id` of digits and a `template`, or names a video twice.
    """
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput("the labels cannot be read", where=path, found=str(error), fix="unpack them again") from error
    if not isinstance(entries, list) or not entries:
        raise BadInput(
            "the labels are no list", where=path, expected="a list of objects", found=type(entries).__name__
        )
    found: dict[str, Label] = {}
    wrong = []
    for place, entry in enumerate(entries):
        number, template = (entry.get("id"), entry.get("template")) if isinstance(entry, dict) else (None, None)
        if not _is_number(number) or not isinstance(template, str):
            wrong.append(f"entry {place}: {json.dumps(entry)[:80]}")
        elif number in found:
            wrong.append(f"entry {place}: {number} is listed twice")
        else:
            found[number] = Label(number, template)
    if wrong:
        raise BadInput(
            f"{len(wrong)} of {len(entries)} labels cannot be used",
            where=path,
            expected="an `id` of digits, each once, and a `template` with each",
            found="; ".join(wrong[:_LISTED]) + ("; …" if len(wrong) > _LISTED else ""),
            fix="test.json has no templates: use the labels of the validation or training split",
        )
    return tuple(found.values())


def choose(labels: Sequence[Label], count: int, seed: int) -> tuple[Label, ...]:
    """Draw videos so that each template has its share: the exact share, rounded up or down by less than one.

    A template's videos, in an order drawn for each, are set at equal distances from an offset drawn for the template;
    all are then taken in turn. So a larger choice continues a smaller one.
    """
    groups: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        groups[label.template].append(label)
    places: list[tuple[int, str, Label]] = []
    for template, members in groups.items():
        offset = int(sha256(f"{seed} template {template}".encode()).hex[:16], 16)
        drawn = sorted((sha256(f"{seed} id {label.number}".encode()), label.number, label) for label in members)
        # Whole numbers: (turn + offset) / members, where the offset is a share of 2**64.
        places += [
            ((((turn << 64) + offset) << 64) // len(members), order, label)
            for turn, (order, _, label) in enumerate(drawn)
        ]
    return tuple(label for _, _, label in sorted(places, key=lambda place: place[:2])[:count])


def spread(available: int, frames: int, where: object) -> tuple[int, ...]:
    """Frame numbers from the first to the last of a video, as even as whole numbers can be, none twice.

    Raises:
        BadVideo: when the video has fewer frames.
    """
    if available < frames:
        raise BadVideo(
            "the video is too short",
            where=where,
            expected=f"at least {frames} frames",
            found=f"{available} frames",
            fix="take it out of the labels; a frame used twice would look like a standstill",
        )
    gaps = max(frames - 1, 1)
    return tuple((2 * number * (available - 1) + gaps) // (2 * gaps) for number in range(frames))


def _look(data: bytes, path: Path) -> Facts:
    known = video.index(data, path, whole=True)
    return {"frames": known.frames, "notes": list(video.remarks(known))}


def _holds_videos(folder: Path) -> bool:
    return folder.is_dir() and any(entry.name.endswith(".webm") for entry in os.scandir(folder))


def _is_number(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value.isascii() and value.isdecimal()
