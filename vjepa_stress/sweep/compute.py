"""Compute rows of cells, clip by clip: decode, encode clean, then perturb, encode and measure. No paths, no ledger.

The unit of work is one clip with one model. Three steps of a unit can overlap with those of its neighbours: `Source`
decodes and draws random numbers on the CPU, `Model` uses the device, and the functions that `Model.measure` yields
finish the measurements on the CPU. The order of the steps does not change a result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from vjepa_stress.blocks import ClipRef
from vjepa_stress.columns import Column
from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.errors import BadConfiguration, IdentityChanged, MachineFailure
from vjepa_stress.interfaces import (
    Dataset,
    Encoder,
    Features,
    LoadedEncoder,
    Measurement,
    Metric,
    Observation,
    PerClip,
    Perturbation,
    Sample,
    Video,
)
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.records import Entry, Row, number_or_null

Seconds = dict[str, float]
"""Seconds of each stage: decode, encode, perturb, metrics."""


@contextmanager
def timed(seconds: Seconds, stage: str) -> Iterator[None]:
    """Add the time of the block to a stage."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class Result:
    """The outcome of one cell at one clip: a row, or the error that prevented it."""

    cell: VideoCell
    row: Row | None
    seconds: Seconds
    error: Exception | None = None


@dataclass(frozen=True)
class _Draw:
    """The cells of one perturbation and seed, in batches, and what the perturbation drew for the clip."""

    perturbation: Perturbation
    batches: tuple[tuple[VideoCell, ...], ...]
    drawn: Any
    error: Exception | None


@dataclass(frozen=True)
class Prepared:
    """A clip, decoded and ready for the device.

    Attributes:
        clip: the clip.
        sample: its pixels and masks.
        draws: the cells to compute, with the random numbers of their perturbations.
        seconds: time for decoding and drawing.
    """

    clip: ClipRef
    sample: Sample
    draws: tuple[_Draw, ...]
    seconds: Seconds = field(default_factory=dict)

    @property
    def cells(self) -> list[VideoCell]:
        """The cells to compute, including those that only complete a batch."""
        return [cell for draw in self.draws for batch in draw.batches for cell in batch]


@dataclass(frozen=True)
class _Clean:
    """The clean clip on the device: pixels, features, masks, and each metric's value of it."""

    clip: ClipRef
    video: Video
    features: Features
    masks: torch.Tensor | None
    of_clean: Sequence[PerClip | None]


class Source:
    """The clips of a data set, and the perturbations that are applied to them."""

    def __init__(
        self,
        design: VideoDesign,
        dataset: Dataset,
        perturbations: Mapping[str, Perturbation],
        home: Path | None,
        batch: int = 1,
        pinned: bool = False,
    ) -> None:
        self.design, self.batch = design, batch
        self._dataset, self._perturbations, self._home, self._pinned = dataset, perturbations, home, pinned

    def prepare(self, clip: ClipRef, cells: Sequence[VideoCell], planned: Sequence[VideoCell]) -> Prepared:
        """Decode a clip and draw the random numbers of its cells.

        Args:
            clip: the clip.
            cells: the cells to compute.
            planned: all registered cells of the model and data set. Batches are groups of them, so that they do not
                depend on what is missing; a batch is computed if one of its cells is.

        Raises:
            IdentityChanged: when the decoded clip is not the registered one.
            BadVideo: when it cannot be decoded.
        """
        seconds: Seconds = {}
        with timed(seconds, "decode"):
            sample = self._dataset.read(clip, self._home, self.design.resolution)
            if sample.digest != clip.digest:
                raise IdentityChanged(
                    "the source file of a clip changed after the launch",
                    where=clip.name,
                    expected=clip.digest,
                    found=sample.digest,
                    fix="restore the registered file, then run the same command again",
                )
        video = self._clip(sample)
        with timed(seconds, "perturb"):
            draws = tuple(self._draws(clip, video, cells, planned))
        return Prepared(clip, replace(sample, pixels=self._pin(sample.pixels)), draws, seconds)

    def _draws(
        self, clip: ClipRef, video: Video, cells: Sequence[VideoCell], planned: Sequence[VideoCell]
    ) -> Iterator[_Draw]:
        wanted = set(cells)
        ordered = sorted(planned, key=lambda cell: (cell.perturbation, cell.seed, cell.strength or 0.0))
        for (name, index), group in groupby(ordered, key=lambda cell: (cell.perturbation, cell.seed)):
            members = tuple(group)
            batches = tuple(members[start : start + self.batch] for start in range(0, len(members), self.batch))
            batches = tuple(batch for batch in batches if wanted.intersection(batch))
            if not batches:
                continue
            perturbation = self._perturbations[name]
            drawn, error = None, None
            try:
                drawn = perturbation.draw(video, [clip_seed(self.design.seed, clip.digest, name, index)])
                drawn = self._pin(drawn) if isinstance(drawn, torch.Tensor) else drawn
            except Exception as problem:
                error = problem
            yield _Draw(perturbation, batches, drawn, error)

    @staticmethod
    def _clip(sample: Sample) -> Video:
        return sample.pixels.to(torch.float32).div_(255)[None]

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory() if self._pinned else tensor


class Model:
    """An encoder on a device, and the metrics that compare its features."""

    def __init__(
        self,
        design: VideoDesign,
        encoder: Encoder,
        loaded: LoadedEncoder,
        metrics: Sequence[Metric],
        device: torch.device,
    ) -> None:
        self.design, self.device = design, device
        self._shape = encoder.feature_shape(design.frames, design.resolution)
        self._encode, self._metrics = loaded.encode, metrics

    def encode_clean(self, prepared: Prepared) -> Features:
        """Features of the clean clip."""
        return self._features(prepared.sample.pixels.to(self.device).to(torch.float32).div_(255)[None], prepared.clip)

    def measure(self, prepared: Prepared) -> Iterator[Callable[[], list[Result]]]:
        """Compute the cells of a clip, batch by batch; each function that is yielded finishes a batch on the CPU.

        An error of one batch is in its results, and the others go on.

        Raises:
            BadConfiguration: when features do not have the shape that their encoder declares.
            MachineFailure: when the memory of the device does not suffice.
        """
        shared: Seconds = dict(prepared.seconds)
        with timed(shared, "decode"):
            pixels = prepared.sample.pixels.to(self.device, non_blocking=True)
            video = pixels.to(torch.float32).div_(255)[None]
            masks = prepared.sample.masks
            if masks is not None:
                masks = masks.to(self.device, torch.int64, non_blocking=True)[None]
        with timed(shared, "encode"):
            clean = self._features(video, prepared.clip)
        with timed(shared, "metrics"):
            of_clean = [metric.of_clean(clean, masks) for metric in self._metrics]
        seen = _Clean(prepared.clip, video, clean, masks, of_clean)
        share = {stage: value / len(prepared.cells) for stage, value in shared.items()}
        for draw in prepared.draws:
            drawn = draw.drawn
            if isinstance(drawn, torch.Tensor):
                drawn = drawn.to(self.device, non_blocking=True)
            for batch in draw.batches:
                yield self._batch(seen, draw, drawn, batch, share)

    def _batch(
        self, seen: _Clean, draw: _Draw, drawn: Any, cells: tuple[VideoCell, ...], share: Seconds
    ) -> Callable[[], list[Result]]:
        seconds: Seconds = {}
        failed: dict[VideoCell, Exception] = {}
        waiting: dict[VideoCell, list[Callable[[], dict[str, Measurement]]]] = {}
        try:
            with timed(seconds, "perturb"):
                perturbed = [self._perturbed(seen, draw, drawn, cell, failed) for cell in cells]
            with timed(seconds, "encode"):
                features = self._features(torch.cat(perturbed) if len(perturbed) > 1 else perturbed[0], seen.clip)
            with timed(seconds, "metrics"):
                for k, cell in enumerate(cells):
                    try:
                        if cell not in failed:
                            waiting[cell] = self._compared(draw, cell, features[k : k + 1], seen)
                    except Exception as problem:
                        failed[cell] = problem
        except torch.OutOfMemoryError as problem:
            raise _too_large(len(cells), problem) from problem
        except Exception as problem:
            failed = dict.fromkeys(cells, problem)
        each = {stage: value / len(cells) for stage, value in seconds.items()}
        own = {stage: share.get(stage, 0.0) + each.get(stage, 0.0) for stage in {*share, *each}}
        return lambda: [
            Result(cell, None, {}, failed[cell]) if cell in failed else self._result(seen, cell, waiting[cell], own)
            for cell in cells
        ]

    @staticmethod
    def _perturbed(
        seen: _Clean, draw: _Draw, drawn: Any, cell: VideoCell, failed: dict[VideoCell, Exception]
    ) -> Video:
        """The perturbed clip. If that fails, the error is noted, and the clean clip keeps its place in the batch."""
        try:
            if draw.error is not None:
                raise draw.error
            return draw.perturbation.apply(seen.video, cell.strength, drawn)
        except Exception as problem:
            failed[cell] = problem
            return seen.video

    def _features(self, video: Video, clip: ClipRef) -> Features:
        features = self._encode(video)
        if tuple(features.shape) != (len(video), *self._shape):
            raise BadConfiguration(
                "features do not have the shape that their encoder declares",
                where=clip.name,
                expected=f"{(len(video), *self._shape)}, from feature_shape",
                found=tuple(features.shape),
                fix="correct the method feature_shape of the encoder's class",
            )
        return features

    def _compared(
        self, draw: _Draw, cell: VideoCell, features: Features, seen: _Clean
    ) -> list[Callable[[], dict[str, Measurement]]]:
        aligned, counterpart = draw.perturbation.align(features, cell.strength)
        in_place = draw.perturbation.correspondence == "in-place"
        observation = Observation(seen.features, features, aligned, counterpart, in_place, seen.masks)
        return [
            metric.measure(replace(observation, of_clean=value))
            for metric, value in zip(self._metrics, seen.of_clean, strict=True)
        ]

    def _result(
        self, seen: _Clean, cell: VideoCell, finish: list[Callable[[], dict[str, Measurement]]], seconds: Seconds
    ) -> Result:
        seconds = dict(seconds)
        try:
            with timed(seconds, "metrics"):
                measured = {name: value for one in finish for name, value in one().items()}
                row = {column.name: _entry(column, seen.clip.digest, measured) for column in self.design.layout}
        except Exception as problem:
            return Result(cell, None, {}, problem)
        return Result(cell, row, seconds)


def _too_large(cells: int, problem: Exception) -> MachineFailure:
    return MachineFailure(
        "the memory of the device does not suffice",
        found=str(problem).splitlines()[0],
        fix=f"encode fewer cells together: exec.batch={max(1, cells // 2)}" if cells > 1 else "use another device",
    )


def _entry(column: Column, clip: str, measured: Mapping[str, Measurement]) -> Entry:
    if column.kind == "unit":
        return clip
    if column.kind == "flag":
        # An infinite metric value flags the clip, as a non-finite feature does.
        return any(
            int(measurement.n_non_finite) > 0 or math.isinf(float(measurement.value))
            for measurement in measured.values()
        )
    measurement = measured[column.metric]
    if column.kind == "value":
        return number_or_null(float(measurement.value))
    if column.kind == "count":
        return int(getattr(measurement, column.part))
    (scores,) = measurement.regions or (None,)
    return None if scores is None else list(getattr(scores, column.part))
