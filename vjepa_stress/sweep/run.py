"""Compute cells: perturb, encode, measure, and write one shard and one manifest per cell."""

from __future__ import annotations

import math
import platform
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vjepa_stress.blocks import ClipRef
from vjepa_stress.columns import Column
from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.digest import sha256
from vjepa_stress.errors import CannotWrite, CodeChanged, IdentityChanged, MachineFailure, StressError, Tampered
from vjepa_stress.fields import now
from vjepa_stress.interfaces import Dataset, Encoder, LoadedEncoder, Measurement, Metric, Observation, Perturbation
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.provenance import code_state, package_versions
from vjepa_stress.records import (
    Entry,
    Manifest,
    Row,
    RunFailure,
    content_digest,
    number_or_null,
    shard_bytes,
    shard_schema,
    write_cell,
    write_failure,
)
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import ExecConfig, rebuild
from vjepa_stress.sweep.features import CleanFeatures, Clips, scratch_folder
from vjepa_stress.sweep.plan import Launch
from vjepa_stress.terminal import printable


def choose_device(name: str) -> torch.device:
    """The device to compute on; `auto` takes CUDA if available.

    Raises:
        MachineFailure: when torch cannot use the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise MachineFailure(
            "this device cannot be used",
            where=f"exec.device={name}",
            expected="auto, cpu, cuda or cuda:N",
            found=str(error),
            fix="choose another device, for instance exec.device=cpu",
        ) from error
    return device


@dataclass
class Stages:
    """Seconds spent in each stage of a cell."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of a block of code to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: cells done, messages of failed cells, seconds per stage."""

    done: int
    failed: tuple[str, ...]
    seconds: dict[str, float]


_loaded: dict[tuple[str, str], LoadedEncoder] = {}


def _load(
    name: str, encoder: Encoder, launch: Launch, design: VideoDesign, exec_config: ExecConfig, device: torch.device
) -> LoadedEncoder:
    """Load a model, or reuse the last one of this process: a worker may run several jobs of one model."""
    numerics = design.numerics
    key = (launch.weights[name], f"{design.models[name].spec_digest} {device} {numerics}")
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = encoder.load(exec_config.weights.expanduser(), device, numerics.dtype, numerics.compile)
    loaded = _loaded[key]
    if loaded.weights != launch.weights[name]:
        raise IdentityChanged(
            f"the weights of {name} changed after the launch",
            expected=launch.weights[name],
            found=loaded.weights,
            fix="restore the registered weights file, then run the same command again",
        )
    return loaded


class CellRunner:
    """Computes the cells of one model on one data set."""

    def __init__(
        self, launch: Launch, design: VideoDesign, exec_config: ExecConfig, dataset: str, model: str, scratch: Path
    ):
        self.launch, self.design, self.exec_config = launch, design, exec_config
        root = StudyRoot(launch.root)
        self.device = choose_device(exec_config.device)
        encoder = rebuild(design.models[model].spec, launch.targets, Encoder, f"model {model}", exec_config.plugins)
        self.encoder = _load(model, encoder, launch, design, exec_config, self.device)
        self.clips = Clips(
            rebuild(design.datasets[dataset].spec, launch.targets, Dataset, f"data {dataset}", exec_config.plugins),
            root.clips(launch.study, dataset, launch.clips[dataset]),
            launch.clips[dataset],
            exec_config.home(dataset),
            design.resolution,
            scratch / dataset,
        )
        shape = encoder.feature_shape(design.frames, design.resolution)
        self.clean = CleanFeatures(self.encoder, shape, self.clips, scratch / f"{dataset}-{model}")
        self.metrics = [
            rebuild(entry.spec, launch.targets, Metric, f"metric {name}", exec_config.plugins)
            for name, entry in design.metrics.items()
        ]

    def run(self, cell: VideoCell) -> Stages:
        """Compute one cell and write it.

        Raises:
            Tampered: when the registration, clips or weights are not those of the launch.
            MachineFailure, CannotWrite: when the result cannot be written.
        """
        stages, started, design = Stages(), now(), self.design
        rows = self.rows(cell, stages)
        with stages("write"):
            self.launch.verify_document()
            shard = shard_bytes(rows, shard_schema(design))
            manifest = Manifest(
                schema="vjepa-stress/manifest/v2",
                prereg_digest=self.launch.prereg_digest,
                ledger_checkpoint=self.launch.ledger_checkpoint,
                attempt=self.launch.attempt,
                cell=cell,
                shard_digest=sha256(shard),
                content_digest=content_digest(rows),
                rows=len(rows),
                config_digest=design.config_digest(cell),
                identities={"weights": self.encoder.weights, "clips": self.launch.clips[cell.dataset]},
                units=tuple(clip.digest for clip in self.clips.refs),
                settings=dict(design.settings),
                code_digest=self.launch.code.digest,
                code_dirty=self.launch.code.dirty,
                packages=package_versions(),
                device=str(self.device),
                threads=torch.get_num_threads(),
                started=started,
                finished=now(),
                seconds={name: round(value, 6) for name, value in stages.seconds.items()},
                host=platform.node() or "unknown",
            )
            write_cell(self.launch.cell_folder(cell), shard, manifest)
        return stages

    def rows(self, cell: VideoCell, stages: Stages) -> list[Row]:
        """Compute one cell: one row per clip."""
        spec = self.design.perturbations[cell.perturbation].spec
        where = f"perturbation {cell.perturbation}"
        perturbation = rebuild(spec, self.launch.targets, Perturbation, where, self.exec_config.plugins)
        return [self._row(cell, perturbation, clip, stages) for clip in self.clips.refs]

    def _row(self, cell: VideoCell, perturbation: Perturbation, clip: ClipRef, stages: Stages) -> Row:
        with stages("decode"):
            video = self.clips.video(clip, self.device)
        with stages("encode"):
            clean = self.clean.get(clip, self.device)
        with stages("perturb"):
            seed = clip_seed(self.design.seed, clip.digest, cell.perturbation, cell.seed)
            perturbed_video = perturbation(video, cell.strength, [seed])
        with stages("encode"):
            perturbed = self.encoder.encode(perturbed_video)
        with stages("metrics"):
            aligned, counterpart = perturbation.align(perturbed, cell.strength)
            in_place = perturbation.correspondence == "in-place"
            masks = self.clips.masks(clip, self.device)
            observation = Observation(clean, perturbed, aligned, counterpart, in_place, masks)
            measured: dict[str, Measurement] = {}
            for index, metric in enumerate(self.metrics):
                clean_value = self.clean.metric_value(clip, metric, index, self.device)
                measured |= metric(replace(observation, of_clean=clean_value))
            return _row(clip.digest, measured, self.design.layout)


def _row(clip: str, measured: Mapping[str, Measurement], layout: Sequence[Column]) -> Row:
    return {column.name: _entry(column, clip, measured) for column in layout}


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


def configure_torch(exec_config: ExecConfig) -> None:
    """Set torch's process-wide options: number of threads, no TF32, deterministic cuDNN."""
    if exec_config.threads is not None:
        torch.set_num_threads(exec_config.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def run_cells(
    launch: Launch,
    cells: Sequence[VideoCell],
    exec_config: ExecConfig,
    progress: Callable[[VideoCell], None] = lambda _: None,
) -> Outcome:
    """Compute cells in this process, grouped by model and data set.

    A cell that raises leaves a `RunFailure`, and the job continues with the next cell. Tampering and a failing
    machine end the job.
    """
    configure_torch(exec_config)
    code = code_state(exec_config.plugins)
    if code.digest != launch.code.digest:
        raise CodeChanged(
            "this worker has other code than the launching process",
            expected=launch.code.digest,
            found=code.digest,
            fix="install the same code on every machine, then run the same command again",
        )
    design = launch.load_design()
    seconds: dict[str, float] = defaultdict(float)
    done, failed = 0, []
    with scratch_folder(exec_config.scratch) as scratch:
        groups: dict[tuple[str, str], list[VideoCell]] = defaultdict(list)
        for cell in cells:
            groups[cell.model, cell.dataset].append(cell)
        for (model, dataset), group in groups.items():
            runner = CellRunner(launch, design, exec_config, dataset, model, scratch)
            for cell in group:
                try:
                    stages = runner.run(cell)
                except (Tampered, MachineFailure, CannotWrite):
                    raise
                except Exception as error:
                    write_failure(launch.folder, _failure(launch, cell, error))
                    failed.append(f"{cell}: {error}")
                else:
                    done += 1
                    for name, value in stages.seconds.items():
                        seconds[name] += value
                progress(cell)
    return Outcome(done, tuple(failed), dict(seconds))


def _failure(launch: Launch, cell: VideoCell, error: Exception) -> RunFailure:
    return RunFailure(
        schema="vjepa-stress/failure/v2",
        prereg_digest=launch.prereg_digest,
        attempt=launch.attempt,
        cell=cell,
        error=type(error).__name__,
        message=_message(error),
        at=now(),
        host=platform.node() or "unknown",
    )


def _message(error: Exception) -> str:
    """The message of an error as a document can hold it: no control characters, Unicode normal form C."""
    text = str(error) if isinstance(error, StressError) else f"{type(error).__name__}: {error}"
    return unicodedata.normalize("NFC", printable(text))
