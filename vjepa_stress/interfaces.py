"""Tensor aliases and the frozen bases of the four building blocks: Dataset, Perturbation, Encoder, Metric.

A building block is a frozen pydantic class that is itself the callable. It declares a permanent `kind` and a
`revision`; its fields are everything else that can change a result, and a preregistration holds its `spec`, which is
all of these. A new block is one Python file and one YAML in `conf/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from vjepa_stress.blocks import Block, BlockType, ClipRef, Compares, Correspondence, Family, PerturbationRole
from vjepa_stress.digest import Digest

Pixels = UInt8[Tensor, "3 t h w"]
"""One clip as 8-bit RGB."""

Video = Float[Tensor, "b 3 frames height width"]
"""Clips as floating-point RGB in [0, 1]."""

Features = Float[Tensor, "b t h w d"]
"""Dense features: batch, temporal positions, rows, columns, channels."""

PerClip = Float[Tensor, " b"]
"""One value a clip."""

DType = Literal["float32", "bfloat16"]
"""The number format an encoder computes in."""


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside: what is computed must not depend on how torch shares it out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Sample:
    """A decoded clip.

    Attributes:
        pixels: (3, T, H, W) 8-bit RGB, resized and cropped.
        digest: the clip's digest, computed from the very bytes that were decoded.
        masks: (T, H, W) object ids, 0 for background, where the data set has annotations.
    """

    pixels: Pixels
    digest: Digest
    masks: Int64[Tensor, "t h w"] | None = None


class Dataset(Block, ABC):
    """A source of clips. `home` is where its files lie on this machine; it is never part of the identity."""

    block_type: ClassVar[BlockType] = "dataset"

    n_clips: int

    @abstractmethod
    def identify(self, home: Path | None, frames: int) -> tuple[ClipRef, ...]:
        """Choose the clips and identify them by digest, in a fixed order.

        Args:
            home: folder with the data set's files, or None where it needs none.
            frames: frames a clip.

        Raises:
            BadInput: when files are missing or unusable; the message names them.
        """

    @abstractmethod
    def read(self, clip: ClipRef, home: Path | None, resolution: int) -> Sample:
        """Decode one clip to `resolution` × `resolution` pixels.

        The digest of the sample is computed from the bytes decoded; the caller compares it.

        Raises:
            BadVideo: when the source cannot be decoded.
        """


class Perturbation(Block, ABC):
    """A disturbance of pixels, with a pure kernel and a statement of where the content went."""

    block_type: ClassVar[BlockType] = "perturbation"
    role: ClassVar[PerturbationRole]
    family: ClassVar[Family]
    correspondence: ClassVar[Correspondence]

    @abstractmethod
    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:
        """Perturb clips.

        Args:
            video: (B, 3, T, H, W) in [0, 1].
            strength: in [0, 1]; 0 returns the input bit for bit. None for probes, which have no strength.
            seeds: one seed a clip; a clip's result depends on its own seed only.

        Returns:
            Same shape, dtype and device, in [0, 1].
        """

    def align(self, features: Features, strength: float | None) -> tuple[Features, Bool[Tensor, "h w"]]:  # noqa: ARG002
        """Map features of the perturbed clip back to the clean clip's positions.

        Returns:
            The mapped features, and which positions (H', W') have a counterpart. The default is for
            perturbations that leave content in place.
        """
        return features, torch.ones(features.shape[2:4], dtype=torch.bool, device=features.device)


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder ready to run.

    Attributes:
        weights: digest of the weights that were loaded.
        encode: maps video in [0, 1], (B, 3, T, H, W), to features (B, T', H', W', D).
    """

    weights: Digest
    encode: Callable[[Video], Features]


class Encoder(Block, ABC):
    """A frozen video encoder."""

    block_type: ClassVar[BlockType] = "encoder"
    untrained: ClassVar[bool] = False

    def check_input(self, frames: int, resolution: int) -> None:
        """Refuse clips that this encoder cannot take; the default takes any.

        Raises:
            BadInput: saying what it can take.
        """

    @abstractmethod
    def feature_shape(self, frames: int, resolution: int) -> tuple[int, int, int, int]:
        """Temporal positions, rows, columns and channels (T', H', W', D) of the features of one clip.

        Args:
            frames: frames of the clip.
            resolution: its rows and columns in pixels; `check_input` takes both.
        """

    @abstractmethod
    def identify(self, store: Path) -> Digest:
        """Digest of the weights as they lie on this machine, without building the model.

        Args:
            store: folder that holds downloaded checkpoints.

        Raises:
            NotHere: when the weights are not there; the message says how to get them.
            IdentityChanged: when they are not the known ones.
        """

    @abstractmethod
    def load(self, store: Path, device: torch.device, dtype: DType, compiled: bool) -> LoadedEncoder:
        """Build the model and load its weights strictly.

        Raises:
            BadCheckpoint: when the weights are missing, unsafe or do not fit.
        """


@dataclass(frozen=True)
class Observation:
    """What a metric sees of a batch of clips.

    Attributes:
        clean: features of the clean clips.
        perturbed: features of the perturbed clips.
        aligned: the perturbed features mapped back to clean positions.
        counterpart: which positions (H', W') of `aligned` have content of the clean clip.
        in_place: the perturbation moves nothing, so that `aligned` is `perturbed`.
        masks: (B, T, H, W) object ids in the frames of the clean clips, where the data set has annotations.
        of_clean: what the metric's own `of_clean` gave for these clips; None when it was not asked.
    """

    clean: Features
    perturbed: Features
    aligned: Features
    counterpart: Bool[Tensor, "h w"]
    in_place: bool
    masks: Int64[Tensor, "b frames height width"] | None = None
    of_clean: PerClip | None = None


@dataclass(frozen=True)
class RegionScores:
    """How well each object of a clip was followed.

    Attributes:
        objects: ids of the objects.
        J: region similarity of each, in [0, 1].
        F: contour accuracy of each, in [0, 1].
    """

    objects: tuple[int, ...]
    J: tuple[float, ...]
    F: tuple[float, ...]


@dataclass(frozen=True)
class Measurement:
    """A metric's value for each clip, with the positions it rests on.

    Attributes:
        value: (B,) NaN where undefined.
        n: positions compared; the value is the mean over those that none of the other counts leaves out.
        n_both_zero: positions left out because both vectors are zero.
        n_one_zero: positions left out because one vector is zero: an effect that the metric cannot express.
        n_non_finite: positions with NaN or infinity; any makes the value NaN and flags the clip.
        regions: for a metric that compares regions, what stands behind each clip's value, or None.
    """

    value: PerClip
    n: Int64[Tensor, " b"]
    n_both_zero: Int64[Tensor, " b"]
    n_one_zero: Int64[Tensor, " b"]
    n_non_finite: Int64[Tensor, " b"]
    regions: tuple[RegionScores | None, ...] = ()


class Metric(Block, ABC):
    """A number for each clip that compares clean and perturbed features."""

    block_type: ClassVar[BlockType] = "metric"
    range: ClassVar[tuple[float, float]]
    compares: ClassVar[Compares]
    columns: ClassVar[tuple[str, ...]]
    """Names of the shard's columns; the first is the metric itself."""
    aligned: ClassVar[Mapping[str, str]] = {}
    """Columns that compare position by position → their aligned twins, which map positions back first."""

    def of_clean(
        self,
        clean: Features,  # noqa: ARG002
        masks: Int64[Tensor, "b frames height width"] | None,  # noqa: ARG002
    ) -> PerClip | None:
        """A number of the clean clips alone that measuring needs, computed once for all cells of a model.

        The default is for metrics that need none.
        """
        return None

    @abstractmethod
    def __call__(self, seen: Observation) -> dict[str, Measurement]:
        """Measure; the keys are `columns`."""
