"""Decoded clips and clean features, computed once per job and cached on disk, so that memory use stays constant."""

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
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """A private temporary folder. Folders that killed processes of this machine left are removed first."""
    parent = parent or Path(tempfile.gettempdir())
    prefix = f"vjepa-stress-{platform.node()}-"
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for folder in parent.glob(f"{prefix}*"):
            owner = folder.name.removeprefix(prefix).split("-")[0]
            if owner.isdigit() and not _alive(int(owner)):
                shutil.rmtree(folder, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
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
    """Arrays on disk by name; each is computed when it is first requested."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The array of this name, computed if it is not cached."""
        cached = self.cached(name)
        if cached is not None:
            return cached
        path = self.folder / f"{name}.npy"
        array = compute().cpu()
        with writing(path):
            np.save(path, array.numpy())
        return array

    def cached(self, name: str) -> Tensor | None:
        """The array of this name, or None if it is not cached."""
        path = self.folder / f"{name}.npy"
        return torch.from_numpy(np.load(path)) if path.exists() else None


class Clips:
    """The clips of a data set, each decoded once and compared with the clip manifest."""

    def __init__(
        self, dataset: Dataset, manifest: Path, digest: Digest, home: Path | None, resolution: int, folder: Path
    ) -> None:
        self.refs = read_clips(manifest, digest).clips
        self._dataset, self._home, self._resolution, self._cache = dataset, home, resolution, ArrayCache(folder)

    def video(self, clip: ClipRef, device: torch.device) -> Video:
        """A clip as (1, 3, T, H, W) in [0, 1]."""
        pixels = self._cache.get(clip.digest.hex, lambda: self._decode(clip))
        return pixels.to(device, torch.float32).div_(255)[None]

    def masks(self, clip: ClipRef, device: torch.device) -> Int64[Tensor, "1 frames height width"] | None:
        """Object ids of a clip, (1, T, H, W); None if the data set has no annotations."""
        self._cache.get(clip.digest.hex, lambda: self._decode(clip))
        masks = self._cache.cached(_masks_of(clip))
        return None if masks is None else masks.to(device, torch.int64)[None]

    def _decode(self, clip: ClipRef) -> Tensor:
        sample = self._dataset.read(clip, self._home, self._resolution)
        if sample.digest != clip.digest:
            raise IdentityChanged(
                "the source file of a clip changed after the launch",
                where=clip.name,
                expected=clip.digest,
                found=sample.digest,
                fix="restore the registered file, then run the same command again",
            )
        if (masks := sample.masks) is not None:
            # Masks are cached before pixels, whose presence marks a clip as decoded. Most ids fit a byte.
            small = masks.to(torch.uint8) if int(masks.max()) < 256 else masks
            self._cache.get(_masks_of(clip), lambda: small)
        return sample.pixels


def _masks_of(clip: ClipRef) -> str:
    return f"{clip.digest.hex}-masks"


class CleanFeatures:
    """Features of the clean clips, and the metrics' values of them, computed once for all cells of a model."""

    def __init__(self, encoder: LoadedEncoder, shape: tuple[int, int, int, int], clips: Clips, folder: Path) -> None:
        self._encoder, self._shape, self._clips, self._cache = encoder, shape, clips, ArrayCache(folder)
        self._values: dict[tuple[Digest, int], PerClip | None] = {}

    def get(self, clip: ClipRef, device: torch.device) -> Features:
        """Features (1, T', H', W', D) of a clean clip.

        Raises:
            BadConfiguration: when they do not have the shape that the encoder declares.
        """
        return self._cache.get(clip.digest.hex, lambda: self._encode(clip, device)).to(device)

    def _encode(self, clip: ClipRef, device: torch.device) -> Features:
        features = self._encoder.encode(self._clips.video(clip, device))
        if tuple(features.shape) != (1, *self._shape):
            raise BadConfiguration(
                "features do not have the shape that their encoder declares",
                where=clip.name,
                expected=f"{(1, *self._shape)}, from feature_shape",
                found=tuple(features.shape),
                fix="correct the method feature_shape of the encoder's class",
            )
        return features

    def metric_value(self, clip: ClipRef, metric: Metric, index: int, device: torch.device) -> PerClip | None:
        """`of_clean` of a metric for one clip; `index` is the metric's position in the design."""
        key = (clip.digest, index)
        if key not in self._values:
            self._values[key] = metric.of_clean(self.get(clip, device), self._clips.masks(clip, device))
        return self._values[key]
