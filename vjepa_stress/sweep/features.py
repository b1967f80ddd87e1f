"""Decoded clips and clean features, made once a job and kept on disk: memory does not grow with the clips."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from vjepa_stress.blocks import ClipRef
from vjepa_stress.digest import Digest
from vjepa_stress.disk import writing
from vjepa_stress.errors import BadConfiguration, IdentityChanged
from vjepa_stress.interfaces import Dataset, Features, LoadedEncoder, Metric, PerClip, Video
from vjepa_stress.records import read_clips


@contextmanager
def scratch_folder(place: Path | None) -> Iterator[Path]:
    """A private folder that is gone afterwards; those of killed processes of this machine are removed first."""
    parent = place or Path(tempfile.gettempdir())
    mine = f"vjepa-stress-{platform.node()}-"
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{mine}*"):
            owner = left.name.removeprefix(mine).split("-")[0]
            if owner.isdigit() and not _alive(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{mine}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class ArrayCache:
    """Arrays on disk under a name, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """The array of this name."""
        kept = self.there(name)
        if kept is not None:
            return kept
        path = self.folder / f"{name}.npy"
        made = make().cpu()
        with writing(path):
            np.save(path, made.numpy())
        return made

    def there(self, name: str) -> Tensor | None:
        """The array of this name, if it was made."""
        path = self.folder / f"{name}.npy"
        return torch.from_numpy(np.load(path)) if path.exists() else None


class Clips:
    """The clips of a data set, decoded once; whatever is decoded is compared with the clip manifest."""

    def __init__(
        self, dataset: Dataset, manifest: Path, digest: Digest, home: Path | None, resolution: int, folder: Path
    ) -> None:
        self.refs = read_clips(manifest, digest).clips
        self._dataset, self._home, self._resolution, self._kept = dataset, home, resolution, ArrayCache(folder)

    def video(self, clip: ClipRef, device: torch.device) -> Video:
        """A clip as (1, 3, T, H, W) in [0, 1]."""
        pixels = self._kept.get(clip.digest.hex, lambda: self._decode(clip))
        return pixels.to(device, torch.float32).div_(255)[None]

    def masks(self, clip: ClipRef, device: torch.device) -> Int64[Tensor, "1 frames height width"] | None:
        """Object ids of a clip, (1, T, H, W), where the data set has annotations."""
        self._kept.get(clip.digest.hex, lambda: self._decode(clip))
        kept = self._kept.there(_masks_of(clip))
        return None if kept is None else kept.to(device, torch.int64)[None]

    def _decode(self, clip: ClipRef) -> Tensor:
        sample = self._dataset.read(clip, self._home, self._resolution)
        if sample.digest != clip.digest:
            raise IdentityChanged(
                "the bytes decoded are not those of the launched clip",
                where=clip.name,
                expected=clip.digest,
                found=sample.digest,
                fix="put the registered file back, then run again",
            )
        if (masks := sample.masks) is not None:
            # Before the pixels: a clip counts as decoded once these are there. Ids are small: a byte holds most.
            small = masks.to(torch.uint8) if int(masks.max()) < 256 else masks
            self._kept.get(_masks_of(clip), lambda: small)
        return sample.pixels


def _masks_of(clip: ClipRef) -> str:
    return f"{clip.digest.hex}-masks"


class CleanFeatures:
    """Features of the unperturbed clips, and what metrics make of them, computed once for all cells of a model."""

    def __init__(self, encoder: LoadedEncoder, shape: tuple[int, int, int, int], clips: Clips, folder: Path) -> None:
        self._encoder, self._shape, self._clips, self._kept = encoder, shape, clips, ArrayCache(folder)
        self._numbers: dict[tuple[Digest, int], PerClip | None] = {}

    def get(self, clip: ClipRef, device: torch.device) -> Features:
        """Features (1, T', H', W', D) of a clean clip.

        Raises:
            BadConfiguration: when they do not have the shape that the encoder declares.
        """
        return self._kept.get(clip.digest.hex, lambda: self._encode(clip, device)).to(device)

    def _encode(self, clip: ClipRef, device: torch.device) -> Features:
        features = self._encoder.encode(self._clips.video(clip, device))
        if tuple(features.shape) != (1, *self._shape):
            raise BadConfiguration(
                "features do not have the shape that their encoder declares",
                where=clip.name,
                expected=f"{(1, *self._shape)}, from feature_shape",
                found=tuple(features.shape),
                fix="correct feature_shape of the encoder's class",
            )
        return features

    def number(self, clip: ClipRef, metric: Metric, which: int, device: torch.device) -> PerClip | None:
        """What a metric's `of_clean` says of a clip, for the metric that stands at place `which`."""
        key = (clip.digest, which)
        if key not in self._numbers:
            self._numbers[key] = metric.of_clean(self.get(clip, device), self._clips.masks(clip, device))
        return self._numbers[key]
