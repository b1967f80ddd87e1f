"""Tensor aliases and the frozen bases of the four building blocks: Dataset, Perturbation, Encoder, Metric.

A building block is a frozen pydantic class with its own configuration as fields. It declares a permanent `kind` and a
`revision`. Kind, revision and fields are its `spec`: everything that can change a result. A preregistration contains
the spec. A new block is one Python file and one YAML file in `conf/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

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
"""One value per clip."""

DType = Literal["float32", "bfloat16"]
"""The number format of an encoder's computation."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one torch thread in the block, so that results do not depend on how torch distributes work to threads."""
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
        digest: the clip's digest, computed from the decoded bytes.
        masks: (T, H, W) object ids, 0 for background; None if the data set has no annotations.
    """

    pixels: Pixels
    digest: Digest
    masks: Int64[Tensor, "t h w"] | None = None


class Dataset(Block, ABC):
    """A source of clips. `home` is the folder of its files on this machine; it is not part of the identity."""

    block_type: ClassVar[BlockType] = "dataset"

    n_clips: int

    @property
    def n_sources(self) -> int:
        """Number of sources of the clips, such as videos. By default each clip has its own source."""
        return self.n_clips

    @abstractmethod
    def identify(self, home: Path | None, frames: int) -> tuple[ClipRef, ...]:
        """Choose the clips and identify them by digest, in a fixed order. Clips of one source share no frame.

        Args:
            home: folder with the data set's files; None if it needs none.
            frames: frames per clip.

        Raises:
            NotHere: when no folder is given, but needed.
            BadInput: when files are missing or unusable; the message lists them.
        """

    @abstractmethod
    def read(self, clip: ClipRef, home: Path | None, resolution: int) -> Sample:
        """Decode one clip to `resolution` × `resolution` pixels.

        The digest of the sample is computed from the decoded bytes; the caller compares it with the clip's.

        Raises:
            BadVideo: when the source cannot be decoded.
        """


class Perturbation(Block, ABC):
    """A perturbation of pixels: a pure function, and the correspondence of positions before and after it."""

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
            seeds: one seed per clip; the result for a clip depends on its own seed only.

        Returns:
            Same shape, dtype and device, in [0, 1].
        """

    def draw(self, video: Video, seeds: Sequence[int]) -> Any:  # noqa: ARG002
        """Draw everything random on the CPU, once for all strengths; the result is passed to `apply`.

        The default is for perturbations that draw little: the seeds themselves.
        """
        return seeds

    def apply(self, video: Video, strength: float | None, drawn: Any) -> Video:
        """Perturb clips with what `draw` returned; the same result as calling the perturbation with the seeds."""
        return self(video, strength, drawn)

    def align(self, features: Features, strength: float | None) -> tuple[Features, Bool[Tensor, "h w"]]:  # noqa: ARG002
        """Map features of the perturbed clip back to the clean clip's positions.

        The default is for perturbations that leave content in place.

        Returns:
            The mapped features, and which positions (H', W') have a counterpart.
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
        """Refuse clips that this encoder cannot encode; the default accepts all clips.

        Raises:
            BadInput: with the accepted values.
        """

    @abstractmethod
    def feature_shape(self, frames: int, resolution: int) -> tuple[int, int, int, int]:
        """Temporal positions, rows, columns and channels (T', H', W', D) of the features of one clip.

        Args:
            frames: frames of the clip.
            resolution: rows and columns of the clip in pixels; `check_input` accepts both arguments.
        """

    @abstractmethod
    def identify(self, store: Path) -> Digest:
        """Digest of the weights on this machine, without building the model.

        Args:
            store: folder of downloaded checkpoints.

        Raises:
            NotHere: when the weights are missing; the message describes how to get them.
            IdentityChanged: when they do not have the known digest.
        """

    @abstractmethod
    def load(self, store: Path, device: torch.device, dtype: DType, compiled: bool) -> LoadedEncoder:
        """Build the model and load its weights strictly.

        Raises:
            BadCheckpoint: when the weights are missing, unsafe or do not fit.
        """


@dataclass(frozen=True)
class Observation:
    """Input of a metric for a batch of clips.

    Attributes:
        clean: features of the clean clips.
        perturbed: features of the perturbed clips.
        aligned: the perturbed features, mapped back to clean positions.
        counterpart: which positions (H', W') of `aligned` have content of the clean clip.
        in_place: whether the perturbation leaves content in place, so that `aligned` is `perturbed`.
        masks: (B, T, H, W) object ids in the frames of the clean clips; None without annotations.
        of_clean: result of the metric's method `of_clean` for these clips; None if it has not been computed.
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
    """Tracking scores of the objects of a clip.

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
    """A metric's value for each clip, with counts of positions.

    Attributes:
        value: (B,); NaN where undefined.
        n: compared positions; the value is the mean over those that the other counts do not exclude.
        n_both_zero: positions excluded because both vectors are zero.
        n_one_zero: positions excluded because one vector is zero, an effect that the metric cannot express.
        n_non_finite: positions with NaN or infinity; a single one makes the value NaN and flags the clip.
        regions: for a metric that compares regions, the scores of each clip's objects, or None.
    """

    value: PerClip
    n: Int64[Tensor, " b"]
    n_both_zero: Int64[Tensor, " b"]
    n_one_zero: Int64[Tensor, " b"]
    n_non_finite: Int64[Tensor, " b"]
    regions: tuple[RegionScores | None, ...] = ()


class Metric(Block, ABC):
    """A comparison of clean and perturbed features; one value per clip."""

    block_type: ClassVar[BlockType] = "metric"
    range: ClassVar[tuple[float, float]]
    compares: ClassVar[Compares]
    columns: ClassVar[tuple[str, ...]]
    """Names of the shard's columns; the first is the metric itself."""
    aligned: ClassVar[Mapping[str, str]] = {}
    """Columns that compare position by position → their aligned twins, for which positions are mapped back first."""

    def of_clean(
        self,
        clean: Features,  # noqa: ARG002
        masks: Int64[Tensor, "b frames height width"] | None,  # noqa: ARG002
    ) -> PerClip | None:
        """A value of the clean clips that the measurement needs, computed once for all cells of a model.

        The default is for metrics that need none.
        """
        return None

    @abstractmethod
    def __call__(self, observation: Observation) -> dict[str, Measurement]:
        """Compute the measurements of all columns; the keys are `columns`."""

    def measure(self, observation: Observation) -> Callable[[], dict[str, Measurement]]:
        """Do the work of the device, and return a function that does the rest on the CPU, in another thread.

        The default does everything at once.
        """
        measured = self(observation)
        return lambda: measured
