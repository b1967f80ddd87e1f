"""Estimate what a study costs here: encodings, disk space and hours, from a short calibration."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vjepa_stress.blocks import ClipRef
from vjepa_stress.design.video import VideoCell, VideoDesign, as_video
from vjepa_stress.prereg import freeze
from vjepa_stress.records import Attempts, cell_folders
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks, ExecConfig
from vjepa_stress.sweep.computation import Computation, configure_torch
from vjepa_stress.sweep.cores import Cost, cores, memory, peak_memory, split
from vjepa_stress.sweep.plan import check_specs, kinds_of
from vjepa_stress.sweep.selection import CellFilter, grouped, select

_BYTES_PER_VALUE = 40
"""Bytes of one value: about 30 with its name in the journal, and below 10 in a shard."""
_BYTES_PER_ROW = 300
"""Bytes of seconds and of a part of the header in the journal, and of the digest of the clip in a manifest."""
_BYTES_PER_CELL = 9_000
"""Bytes of a manifest and of the frame of a shard."""
_CELLS_TIMED = 3


@dataclass(frozen=True)
class GroupCost:
    """Cost of the missing cells of one model and data set.

    Attributes:
        model, dataset: their names.
        clips: number of clips.
        cells: number of missing cells.
        seconds: measured seconds per encoding with everything around it, with one thread; None if not measured.
        memory: measured bytes of a process with the model; None if not measured.
    """

    model: str
    dataset: str
    clips: int
    cells: int
    seconds: float | None = None
    memory: int | None = None

    @property
    def encodings(self) -> int:
        """Number of encodings: each clip once clean, and once for each cell."""
        return self.clips * (self.cells + 1)


@dataclass(frozen=True)
class Estimate:
    """Cost of the missing cells of a study.

    Attributes:
        registered, missing: numbers of cells.
        groups: cost by model and data set.
        bytes_needed: disk space for the journal, shards and manifests.
        bytes_free: free space on the disk of the outputs.
        workers: processes that a run would use here for the first group.
    """

    registered: int
    missing: int
    groups: tuple[GroupCost, ...]
    bytes_needed: int
    bytes_free: int
    workers: int

    @property
    def encodings(self) -> int:
        """Number of encodings."""
        return sum(group.encodings for group in self.groups)

    def seconds(self, workers: int) -> float | None:
        """Seconds with a number of workers like one thread of this machine; None if a group was not measured."""
        total = 0.0
        for group in self.groups:
            if group.seconds is None:
                return None
            total += group.seconds * group.encodings / max(1, min(workers, group.clips))
        return total


def estimate(
    root: StudyRoot,
    study: str,
    cell_filter: CellFilter,
    blocks: Blocks,
    exec_config: ExecConfig,
    calibrate: bool = True,
) -> Estimate:
    """Estimate what the missing cells of a study cost on this machine; write nothing.

    Args:
        root: the study root.
        study: name of the study.
        cell_filter: levels of the cells that are meant.
        blocks, exec_config: as for a run.
        calibrate: whether to encode a clip with each model to measure the time.

    Raises:
        StressError: when the study is not registered, or a model or clip is missing or differs.
    """
    registration = freeze.load(root, study)
    design = as_video(registration.document.design)
    attempts = Attempts.of(registration)
    folder = root.attempt(study, registration.root_digest, attempts.under_way)
    done = {path.name for path in cell_folders(folder)}
    names = {cell: name for name, cell in attempts.current.items()}
    missing = [cell for cell in select(design, cell_filter) if names[cell] not in done]
    by_group = grouped(missing)
    groups = [
        GroupCost(model, dataset, design.datasets[dataset].n_clips, len(cells))
        for (model, dataset), cells in by_group.items()
    ]
    if calibrate and missing:
        check_specs(design, blocks)
        computation = Computation(
            design,
            blocks.targets(kinds_of(design, missing), study),
            {name: blocks.encoder(name).identify(exec_config.weights.expanduser()) for name, _ in by_group},
            exec_config,
        )
        clips = {
            dataset: blocks.dataset(dataset).identify(exec_config.home(dataset), design.frames)[0]
            for dataset in sorted({dataset for _, dataset in by_group})
        }
        groups = [_timed(group, computation, by_group[group.model, group.dataset], clips) for group in groups]
    workers = exec_config.workers or 1
    if exec_config.workers is None and groups and groups[0].seconds is not None:
        first = Cost(groups[0].seconds, groups[0].memory or 1)
        workers = split(first, groups[0].encodings, groups[0].clips, cores(), memory()).workers
    return Estimate(
        len(names), len(missing), tuple(groups), bytes_needed(design, missing), free_space(root.path), workers
    )


def _timed(
    group: GroupCost, computation: Computation, cells: Sequence[VideoCell], clips: Mapping[str, ClipRef]
) -> GroupCost:
    """Compute a few cells of one clip with one thread; twice, as the first time includes a warm-up."""
    configure_torch(1)
    some = cells[:: max(1, len(cells) // _CELLS_TIMED)][:_CELLS_TIMED]
    source, model = computation.source(group.dataset), computation.model(group.model)
    seconds = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        for finish in model.measure(source.prepare(clips[group.dataset], some, some)):
            finish()
        seconds = min(seconds, time.perf_counter() - started)
    return GroupCost(group.model, group.dataset, group.clips, group.cells, seconds / (len(some) + 1), peak_memory())


def bytes_needed(design: VideoDesign, cells: Iterable[VideoCell]) -> int:
    """Bytes that the journal, shards and manifests of some cells take, with a margin.

    The journal, which is most of it, is removed when the attempt is complete.
    """
    row = len(design.layout) * _BYTES_PER_VALUE + _BYTES_PER_ROW
    return sum(_BYTES_PER_CELL + row * design.datasets[cell.dataset].n_clips for cell in cells)


def free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder, or of the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
