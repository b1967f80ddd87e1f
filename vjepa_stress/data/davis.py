"""DAVIS-2017: sequences of JPEG frames, with object masks in palette PNGs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from pydantic import Field

from vjepa_stress.blocks import ClipRef, clip_digest
from vjepa_stress.data import video
from vjepa_stress.data.inspection import Facts, Inspected, bytes_of, different, inspect, unusable
from vjepa_stress.digest import Digest, digest_of, sha256
from vjepa_stress.errors import BadInput, BadVideo, NotHere
from vjepa_stress.interfaces import Dataset, Sample

VOID = 255
"""Palette index of pixels without a certain object; the semi-supervised task treats them as background."""

_AGAIN = "unpack the archive again"


class Davis(Dataset):
    """One clip per sequence, from the first frame on, with object ids from the palette indices of the annotations.

    Attributes:
        n_clips: number of sequences, taken from the start of the split's list.
        step: stride between the frames of a clip, in frames.
        split: name of the list in `ImageSets/YEAR`.
        year: year of the challenge.
        size: name of the folder of frames in `JPEGImages` and of masks in `Annotations`.
    """

    kind = "dataset/davis"
    revision = 1

    n_clips: int = Field(ge=1)
    step: int = Field(ge=1)
    split: str = Field(pattern=r"^[\w-]+$")
    year: str = Field(pattern=r"^\d{4}$")
    size: str = Field(pattern=r"^[\w-]+$")

    def identify(self, home: Path | None, frames: int) -> tuple[ClipRef, ...]:
        """Read all frames and masks of the clips; skip files that have not changed since an earlier run.

        A clip's source is the digest of the list of its files' digests: frames first, then masks.

        Raises:
            NotHere: when no folder is given.
            BadInput: when it is not a folder of DAVIS, or has too few sequences.
            BadVideo: when sequences are too short, files are missing or damaged, or a mask does not have the size of
                its frame; lists up to ten.
        """
        root = self._root(home)
        indices = range(0, frames * self.step, self.step)
        files: dict[str, Path] = {}
        failures: list[BadVideo] = []
        names = self._sequences(root)
        for name in names:
            try:
                self._check_length(root, name, indices)
            except BadVideo as error:
                failures.append(error)
                continue
            files |= {path.relative_to(root).as_posix(): path for path in self._files(root, name, indices)}
        found, broken = inspect(files, "davis-1", _facts)
        failures += broken
        clips = []
        for name in names:
            wanted = [path.relative_to(root).as_posix() for path in self._files(root, name, indices)]
            if all(file in found for file in wanted):
                try:
                    _check_sizes({file: found[file] for file in wanted}, root)
                except BadVideo as error:
                    failures.append(error)
                clips.append(ClipRef.of(name, _source([found[file].digest for file in wanted]), indices))
        if failures:
            raise unusable(failures, f"{len(failures)} sequences or files of the {self.n_clips} clips")
        different({clip.name: clip.source for clip in clips}, root)
        return tuple(clips)

    def read(self, clip: ClipRef, home: Path | None, resolution: int) -> Sample:
        """Read the clip's files; decode, resize and crop frames and masks from those bytes.

        Raises:
            BadInput: as `identify`, and when the name cannot be that of a sequence.
            BadVideo: when a file is missing or cannot be decoded.
        """
        if Path(clip.name).name != clip.name or clip.name.startswith("."):
            raise BadInput(
                "this is not the name of a sequence",
                where=clip.name,
                fix="use the references that `identify` returns",
            )
        paths = self._files(self._root(home), clip.name, clip.frames)
        pixels, masks, digests = [], [], []
        for number, path in enumerate(paths):
            data = bytes_of(path)
            digests.append(sha256(data))
            # One frame at a time: a whole sequence at full size takes many times the memory of the clip.
            if number < len(clip.frames):
                frame = torch.from_numpy(_frame(data, path).transpose(2, 0, 1).copy())
                pixels.append(video.fit(frame[:, None], resolution))
            else:
                ids = torch.from_numpy(np.where((mask := _mask(data, path)) == VOID, 0, mask)).long()
                masks.append(video.fit_masks(ids[None], resolution))
        return Sample(
            pixels=torch.cat(pixels, dim=1),
            digest=clip_digest(_source(digests), clip.frames),
            masks=torch.cat(masks),
        )

    def _root(self, home: Path | None) -> Path:
        if home is None:
            raise NotHere(
                "the folder of DAVIS is not set",
                expected=f"JPEGImages/480p, Annotations/480p and ImageSets/{self.year}/{self.split}.txt",
                found="no folder",
                fix="download it from davischallenge.org (2017, TrainVal, Images and Annotations, 480p), "
                "then give its folder: 'exec.data={NAME: /path/to/DAVIS}'",
            )
        subfolders = ("JPEGImages", "Annotations", "ImageSets")
        for root in (home, home / "DAVIS"):
            if all((root / name).is_dir() for name in subfolders):
                return root
        raise BadInput(
            "this is not the folder of DAVIS",
            where=home,
            expected=", ".join(subfolders),
            found=", ".join(sorted(path.name for path in home.iterdir())[:10]) if home.is_dir() else "no such folder",
            fix="give the folder that the archive was unpacked in: 'exec.data={davis: /path/to/DAVIS}'",
        )

    def _sequences(self, root: Path) -> list[str]:
        path = root / "ImageSets" / self.year / f"{self.split}.txt"
        names = bytes_of(path).decode("utf-8", "replace").split()
        invalid = [name for name in names if Path(name).name != name or name.startswith(".")]
        if invalid or len(set(names)) < len(names) or len(names) < self.n_clips:
            raise BadInput(
                "the list of sequences cannot be used",
                where=path,
                expected=f"at least {self.n_clips} names of folders, without duplicates",
                found=f"{len(set(names))} names"
                + (f", among them {', '.join(map(str, invalid[:5]))}" if invalid else ""),
                fix="lower n_clips, or " + _AGAIN,
            )
        return names[: self.n_clips]

    def _files(self, root: Path, name: str, indices: Sequence[int]) -> list[Path]:
        """The clip's frames, then its masks."""
        frames, masks = root / "JPEGImages" / self.size / name, root / "Annotations" / self.size / name
        return [*(frames / f"{i:05d}.jpg" for i in indices), *(masks / f"{i:05d}.png" for i in indices)]

    def _check_length(self, root: Path, name: str, indices: Sequence[int]) -> None:
        folder = root / "JPEGImages" / self.size / name
        if not folder.is_dir():
            raise BadVideo("the folder of a sequence does not exist", where=folder, fix=_AGAIN)
        frames = sorted(path.stem for path in folder.glob("*.jpg"))
        last = int(frames[-1]) if frames and frames[-1].isdecimal() else -1
        if last < indices[-1]:
            raise BadVideo(
                "the sequence is too short",
                where=folder,
                expected=f"frames 0 to {indices[-1]} for {len(indices)} frames at stride {self.step}",
                found=f"{len(frames)} frames",
                fix="lower `step` in the data set's YAML file; all sequences have the same stride",
            )


def _source(digests: Sequence[Digest]) -> Digest:
    return digest_of(list(digests))


def _facts(data: bytes, path: Path) -> Facts:
    image = _mask(data, path) if path.suffix == ".png" else _frame(data, path)
    return {"height": image.shape[0], "width": image.shape[1]}


def _check_sizes(found: dict[str, Inspected], root: Path) -> None:
    sizes = {name: (file.facts["height"], file.facts["width"]) for name, file in found.items()}
    first = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != first:
            raise BadVideo(
                "a frame or mask has another size than the first frame of its sequence",
                where=root / name,
                expected=f"{first[0]}×{first[1]}",
                found=f"{size[0]}×{size[1]}",
                fix=_AGAIN,
            )


def _frame(data: bytes, path: Path) -> UInt8[np.ndarray, "h w 3"]:
    return np.asarray(_decoded(data, path, "JPEG").convert("RGB"))


def _mask(data: bytes, path: Path) -> UInt8[np.ndarray, "h w"]:
    image = _decoded(data, path, "PNG")
    if image.mode not in {"P", "L"}:
        raise BadVideo(
            "a mask has colours instead of object ids",
            where=path,
            expected="a PNG with a palette",
            found=f"mode {image.mode}",
            fix="export it with a palette, whose indices are the object ids",
        )
    return np.asarray(image)


def _decoded(data: bytes, path: Path, kind: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise BadVideo(
            "an image is damaged or has another format", where=path, expected=kind, found=str(error), fix=_AGAIN
        ) from error
    return image
