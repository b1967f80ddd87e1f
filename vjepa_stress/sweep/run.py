"""Computing cells: perturb, encode, measure, and leave one shard and manifest a cell."""

from __future__ import annotations

import math
import platform
import time
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


def choose_device(wanted: str) -> torch.device:
    """The device to compute on; `auto` takes CUDA where there is one."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise MachineFailure("this device cannot be used", where=f"exec.device={wanted}", found=str(error)) from error
    return device


@dataclass
class Stages:
    """Seconds spent on each stage of a cell."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time of a block of code."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started


@dataclass(frozen=True)
class Outcome:
    """What a job did."""

    done: int
    failed: tuple[str, ...]
    seconds: dict[str, float]


_loaded: dict[tuple[str, str], LoadedEncoder] = {}


def _load(
    name: str, encoder: Encoder, launch: Launch, design: VideoDesign, place: ExecConfig, device: torch.device
) -> LoadedEncoder:
    """Load a model, or take the one this process used last: workers run several jobs of one model."""
    numerics = design.numerics
    key = (launch.weights[name], f"{design.models[name].spec_digest} {device} {numerics}")
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = encoder.load(place.weights.expanduser(), device, numerics.dtype, numerics.compile)
    loaded = _loaded[key]
    if loaded.weights != launch.weights[name]:
        raise IdentityChanged(
            f"the weights of {name} changed after the launch", expected=launch.weights[name], found=loaded.weights
        )
    return loaded


class CellRunner:
    """Computes the cells of one model on one data set."""

    def __init__(
        self, launch: Launch, design: VideoDesign, place: ExecConfig, dataset: str, model: str, scratch: Path
    ):
        self.launch, self.design, self.place = launch, design, place
        root = StudyRoot(launch.root)
        self.device = choose_device(place.device)
        encoder = rebuild(design.models[model].spec, launch.targets, Encoder, f"model {model}", place.plugins)
        self.encoder = _load(model, encoder, launch, design, place, self.device)
        self.clips = Clips(
            rebuild(design.datasets[dataset].spec, launch.targets, Dataset, f"data {dataset}", place.plugins),
            root.clips(launch.study, dataset, launch.clips[dataset]),
            launch.clips[dataset],
            place.home(dataset),
            design.resolution,
            scratch / dataset,
        )
        shape = encoder.feature_shape(design.frames, design.resolution)
        self.clean = CleanFeatures(self.encoder, shape, self.clips, scratch / f"{dataset}-{model}")
        self.metrics = [
            rebuild(entry.spec, launch.targets, Metric, f"metric {name}", place.plugins)
            for name, entry in design.metrics.items()
        ]

    def run(self, cell: VideoCell) -> Stages:
        """Compute one cell and write it.

        Raises:
            Tampered: when the registration, clips or weights are not those of the launch.
            MachineFailure, CannotWrite: when the disk does not take the result.
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
        """Compute one cell: a row a clip."""
        spec = self.design.perturbations[cell.perturbation].spec
        where = f"perturbation {cell.perturbation}"
        perturbation = rebuild(spec, self.launch.targets, Perturbation, where, self.place.plugins)
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
            seen = Observation(clean, perturbed, aligned, counterpart, in_place, self.clips.masks(clip, self.device))
            measured: dict[str, Measurement] = {}
            for which, metric in enumerate(self.metrics):
                number = self.clean.number(clip, metric, which, self.device)
                measured |= metric(replace(seen, of_clean=number))
            return _row(clip.digest, measured, self.design.layout)


def _row(clip: str, measured: Mapping[str, Measurement], layout: Sequence[Column]) -> Row:
    return {column.name: _entry(column, clip, measured) for column in layout}


def _entry(column: Column, clip: str, measured: Mapping[str, Measurement]) -> Entry:
    if column.kind == "unit":
        return clip
    if column.kind == "flag":
        # An infinite value of a metric is as much a flaw as a non-finite feature.
        return any(int(one.n_non_finite) > 0 or math.isinf(float(one.value)) for one in measured.values())
    measurement = measured[column.metric]
    if column.kind == "value":
        return number_or_null(float(measurement.value))
    if column.kind == "count":
        return int(getattr(measurement, column.part))
    (scores,) = measurement.regions or (None,)
    return None if scores is None else list(getattr(scores, column.part))


def settle(place: ExecConfig) -> None:
    """Set what torch keeps for the whole process."""
    if place.threads is not None:
        torch.set_num_threads(place.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def run_cells(
    launch: Launch,
    cells: Sequence[VideoCell],
    place: ExecConfig,
    progress: Callable[[VideoCell], None] = lambda _: None,
) -> Outcome:
    """Compute cells in this process, one model and data set after the other.

    A cell that crashes leaves a `RunFailure` and the next one is tried. Tampering and a failing machine end the job.
    """
    settle(place)
    code = code_state(place.plugins)
    if code.digest != launch.code.digest:
        raise CodeChanged(
            "this worker has other code than the process that launched it",
            expected=launch.code.digest,
            found=code.digest,
            fix="install the same code on every machine, then run again",
        )
    design = launch.load_design()
    seconds: dict[str, float] = defaultdict(float)
    done, failed = 0, []
    with scratch_folder(place.scratch) as scratch:
        groups: dict[tuple[str, str], list[VideoCell]] = defaultdict(list)
        for cell in cells:
            groups[cell.model, cell.dataset].append(cell)
        for (model, dataset), group in groups.items():
            runner = CellRunner(launch, design, place, dataset, model, scratch)
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
        # A failure is a document: it holds no control characters, whatever the message quotes.
        message=printable(str(error) if isinstance(error, StressError) else f"{type(error).__name__}: {error}"),
        at=now(),
        host=platform.node() or "unknown",
    )
