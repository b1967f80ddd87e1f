"""Something-Something V2: a folder of numbered WebM files, and a JSON file with their labels."""

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
"""Folders of the WebM files: as the official archives unpack, and as users often rename it."""

_LABEL_FOLDERS = ("labels", ".")
_LISTED = 10


@dataclass(frozen=True)
class Label:
    """The label of a video.

    Attributes:
        number: file name of the video, without its suffix.
        template: the action with placeholders for its objects; all templates are sampled in proportion.
    """

    number: str
    template: str


class SSv2(Dataset):
    """Clips of Something-Something V2: one per video, with frames spread evenly over the video.

    The videos last about four seconds, too short for the stride of 4 that the encoders' release uses, and a repeated
    frame would look like a standstill. The choice of videos depends on `selection_seed` and the labels only, not on
    the machine or the files in the folder. A file that cannot be used is an error; no other file replaces it.

    Attributes:
        n_clips: number of videos; a smaller choice is the beginning of a larger one.
        selection_seed: chooses the videos; below 2**53.
        labels: name of the JSON file, in the folder or its subfolder `labels`: a list of objects with `id` and
            `template`.
    """

    kind = "dataset/ssv2"
    revision = 1

    n_clips: int = Field(ge=1)
    selection_seed: int = Field(ge=0, lt=2**53)
    labels: str = Field(pattern=r"^[\w.-]+\.json$")

    def identify(self, home: Path | None, frames: int) -> tuple[ClipRef, ...]:
        """Choose and read the videos; skip files that have not changed since an earlier run.

        Raises:
            NotHere: when no folder is given.
            BadInput: when labels are missing or too few, or two chosen videos have the same content.
            BadVideo: when chosen files are missing, damaged or too short; lists up to ten.
        """
        folder, labels = self.paths(home)
        everything = read_labels(labels)
        if len(everything) < self.n_clips:
            raise BadInput(
                "there are not enough videos",
                where=labels,
                expected=f"{self.n_clips} labels",
                found=f"{len(everything)} labels",
                fix="lower n_clips, or use the labels of a larger split",
            )
        self._warn_of_absent(everything, folder, labels)
        numbers = [label.number for label in choose(everything, self.n_clips, self.selection_seed)]
        found, failures = inspect({n: folder / f"{n}.webm" for n in numbers}, "webm-2", _facts)
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
        """Read the clip's file; decode, resize and crop its frames from those bytes.

        Raises:
            BadInput: as `identify`, and when the name cannot be that of a video.
            BadVideo: when the file is missing or cannot be decoded.
        """
        if not (clip.name.endswith(".webm") and clip.name[:-5].isascii() and clip.name[:-5].isdecimal()):
            raise BadInput(
                "this is not the name of a video of Something-Something V2",
                where=clip.name,
                expected="a number and .webm",
                fix="use the references that `identify` returns",
            )
        path = self.paths(home)[0] / clip.name
        data = bytes_of(path)
        pixels = video.fit(video.decode(data, clip.frames, path), resolution)
        return Sample(pixels=pixels, digest=clip_digest(sha256(data), clip.frames))

    def paths(self, home: Path | None) -> tuple[Path, Path]:
        """The folder of videos, and the labels.

        Raises:
            NotHere: when no folder is given.
            BadInput: when the folder does not have them.
        """
        if home is None:
            raise NotHere(
                "the folder of Something-Something V2 is not set",
                expected=f"{VIDEO_FOLDERS[0]}/*.webm and labels/{self.labels}",
                found="no folder",
                fix="download it from its publisher, Qualcomm, which requires registration, "
                "then give its folder: 'exec.data={NAME: /path/to/ssv2}'",
            )
        folders = [home / name for name in VIDEO_FOLDERS]
        folder = next((path for path in folders if _holds_videos(path)), None)
        files = [home / name / self.labels for name in _LABEL_FOLDERS]
        labels = next((path for path in files if path.is_file()), None)
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
                fix="unpack the videos, or give the folder that they were unpacked in",
            )
        return folder, labels

    @staticmethod
    def _warn_of_absent(everything: Sequence[Label], folder: Path, labels: Path) -> None:
        there = {entry.name for entry in os.scandir(folder)}
        absent = [label.number for label in everything if f"{label.number}.webm" not in there]
        if absent:
            logging.getLogger(__name__).warning(
                "%d of the %d videos in %s are missing in %s (an error follows if one of them is chosen): %s",
                len(absent),
                len(everything),
                labels.name,
                folder,
                ", ".join(absent[:_LISTED]) + (", …" if len(absent) > _LISTED else ""),
            )


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read a JSON file of labels, in the order of the file.

    Raises:
        BadInput: when it is not a list of objects with an `id` of digits and a `template`, or lists a video twice.
    """
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(
            "the labels cannot be read", where=path, found=str(error), fix="unpack the archive of labels again"
        ) from error
    if not isinstance(entries, list) or not entries:
        raise BadInput(
            "the labels are not a list of objects",
            where=path,
            expected="a list of objects with `id` and `template`",
            found="an empty list" if entries == [] else type(entries).__name__,
            fix="unpack the archive of labels again",
        )
    found: dict[str, Label] = {}
    wrong = []
    for index, entry in enumerate(entries):
        number, template = (entry.get("id"), entry.get("template")) if isinstance(entry, dict) else (None, None)
        if not _is_number(number) or not isinstance(template, str):
            wrong.append(f"entry {index}: {json.dumps(entry)[:80]}")
        elif number in found:
            wrong.append(f"entry {index}: {number} is listed twice")
        else:
            found[number] = Label(number, template)
    if wrong:
        raise BadInput(
            f"{len(wrong)} of {len(entries)} labels cannot be used",
            where=path,
            expected="a unique `id` of digits and a `template` in each object",
            found="; ".join(wrong[:_LISTED]) + ("; …" if len(wrong) > _LISTED else ""),
            fix="use the labels of the validation or training split; test.json has no templates",
        )
    return tuple(found.values())


def choose(labels: Sequence[Label], count: int, seed: int) -> tuple[Label, ...]:
    """Choose videos so that each template has its exact share, rounded up or down to a whole number.

    The videos of a template, in random order, are placed at equal distances from a random offset; the choice takes
    the first `count` of all videos. A smaller choice is therefore the beginning of a larger one.
    """
    groups: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        groups[label.template].append(label)
    positions: list[tuple[int, str, Label]] = []
    for template, members in groups.items():
        offset = int(sha256(f"{seed} template {template}".encode()).hex[:16], 16)
        drawn = sorted((sha256(f"{seed} id {label.number}".encode()), label.number, label) for label in members)
        # (turn + offset) / members in integers; the offset is a fraction of 2**64.
        positions += [
            ((((turn << 64) + offset) << 64) // len(members), order, label)
            for turn, (order, _, label) in enumerate(drawn)
        ]
    return tuple(label for _, _, label in sorted(positions, key=lambda position: position[:2])[:count])


def spread(available: int, frames: int, where: object) -> tuple[int, ...]:
    """Distinct frame numbers from the first frame of a video to the last, as evenly spaced as integers allow.

    Raises:
        BadVideo: when the video has fewer than `frames` frames.
    """
    if available < frames:
        raise BadVideo(
            "the video is too short",
            where=where,
            expected=f"at least {frames} frames",
            found=f"{available} frames",
            fix="remove it from the labels; a repeated frame would look like a standstill",
        )
    gaps = max(frames - 1, 1)
    return tuple((2 * number * (available - 1) + gaps) // (2 * gaps) for number in range(frames))


def _facts(data: bytes, path: Path) -> Facts:
    known = video.index(data, path, whole=True)
    return {"frames": known.frames, "notes": list(video.remarks(known))}


def _holds_videos(folder: Path) -> bool:
    return folder.is_dir() and any(entry.name.endswith(".webm") for entry in os.scandir(folder))


def _is_number(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value.isascii() and value.isdecimal()
