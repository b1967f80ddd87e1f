"""The Hydra application behind `vjepa-stress run`: plan, compute cells in Hydra jobs, count the shards on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vjepa_stress import ledger
from vjepa_stress.design.video import VideoCell, as_video
from vjepa_stress.digest import Digest, canonical_json, sha256
from vjepa_stress.disk import filling, write_durably
from vjepa_stress.errors import BadInput, MachineFailure, StressError
from vjepa_stress.ledger import Completed, Explored, Failed, LedgerView
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.provenance import code_state, make_importable, shipped
from vjepa_stress.records import Attempts, CheckpointRecord, RunFailure, cell_id, failures, manifests_root
from vjepa_stress.records.life import forget, forget_all, lives, sign_of_life
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import ExecConfig, strictly
from vjepa_stress.sweep.clips import clip_manifest
from vjepa_stress.sweep.commit import assemble, discard_journal
from vjepa_stress.sweep.cores import compute, stop_workers
from vjepa_stress.sweep.draft import exploratory_design
from vjepa_stress.sweep.estimate import bytes_needed, free_space
from vjepa_stress.sweep.launch import Launch, parse_share
from vjepa_stress.sweep.plan import kinds_of, prepare, stored_cells
from vjepa_stress.sweep.request import ARRAYS, FIELDS, PROCESSES, Request, refused
from vjepa_stress.sweep.settings import quoted
from vjepa_stress.sweep.watch import shown


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        study, attempt: the study and the number of the attempt.
        cells: number of requested cells.
        computed_before: how many of them had results before the run.
        computed: how many were computed by the run.
        waiting: how many lack only clips of other shares, which the request did not ask for.
        failed: messages of the cells that failed.
        complete: whether the attempt has every registered cell.
        checkpoint: checkpoint of the ledger after the run.
    """

    study: str
    attempt: int
    cells: int
    computed_before: int
    computed: int
    waiting: int
    failed: tuple[str, ...]
    complete: bool
    checkpoint: str


def sweep(
    root: StudyRoot, study: str, request: Request, *, again: bool = False, deviation: str | None = None
) -> RunResult:
    """Compute the requested cells that are missing, and log the outcome in the ledger.

    Raises:
        StressError: when the launch is refused, or the machine fails; computed clips and complete cells are kept.
    """
    request.verify_launcher(study)
    registration = freeze.load(root, study)
    blocks, exec_config = request.blocks, request.exec_config
    lost: list[str] = []
    with ExitStack() as signs:
        launch, computed_before = prepare(
            root, registration, request.cell_filter, blocks, exec_config, signs, again=again, deviation=deviation
        )
        if launch is not None:
            _warn_of_disk(launch)
            lost = run_jobs(launch, request)
    return _finish(root, study, launch, computed_before, lost, share=bool(request.chunks))


def _warn_of_disk(launch: Launch) -> None:
    needed, free = bytes_needed(launch.design, launch.cells.values()), free_space(launch.attempt_folder)
    if needed > free:
        print(
            f"warning: this run needs about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            "computed clips are kept if the disk gets full",
            file=sys.stderr,
        )


def run_jobs(launch: Launch, request: Request) -> list[str]:
    """Run the jobs of a launch, and assemble the cells that they complete.

    Returns:
        One line for each job that ended without a message, for instance because it was killed.
    """
    try:
        with filling(launch.folder), shown(launch):  # Hydra writes there too
            lost = _run_hydra(launch, request)
    finally:
        forget(launch.folder / "jobs", stop_workers())
    assemble(launch)
    if request.launcher in (ARRAYS, PROCESSES):  # every job has ended, and the launcher has named those that died
        forget_all(launch.folder / "jobs")
        return lost
    ended = [life for life in lives(launch.folder / "jobs") if not life.alive]
    return lost + [f"the job {life.path.stem} ended without a message ({life})" for life in ended]


def _run_hydra(launch: Launch, request: Request) -> list[str]:
    """Run the launch with Hydra: one job per model, and per chunk of its clips.

    Returns:
        One line for each job that the launcher saw fail or disappear.
    """
    selecting = {*FIELDS, "chunk"}
    overrides = [text for text in request.overrides if text.lstrip("+").split("=")[0] not in selecting]
    overrides += [f"study={launch.study}", f"launch={quoted(str(launch.path))}"]
    overrides.append("model=" + ",".join(sorted({cell.model for cell in launch.cells.values()})))
    n = request.exec_config.chunks
    chunks = request.chunks or tuple(f"{k}/{n}" for k in range(1, n + 1) if n > 1)
    if chunks:
        overrides.append("chunk=" + ",".join(map(quoted, chunks)))
    overrides += [f"hydra.sweep.dir={quoted(str(launch.folder / 'hydra'))}", "--multirun"]
    if request.config_dir:
        overrides += ["--config-dir", str(request.config_dir.resolve())]
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    # Without HYDRA_FULL_ERROR, Hydra turns every exception into exit code 1 and a shortened traceback.
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["vjepa-stress run", *overrides], "1"
    failed: list[str] = []
    # These need extras.
    if request.launcher == ARRAYS:
        from vjepa_stress.sweep.slurm import ArrayLauncher

        failed = ArrayLauncher.register()
    elif request.launcher == PROCESSES:
        from vjepa_stress.sweep.processes import ProcessLauncher

        failed = ProcessLauncher.register()
    try:
        hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise refused(error) from error
    except BrokenProcessPool as error:
        failed.append(f"a process of {request.launcher} was killed: {str(error).splitlines()[0]}")
    finally:
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["HYDRA_FULL_ERROR"]
    return failed


def job(config: DictConfig) -> None:
    """One Hydra job: compute the clips of a launch for one model, or a chunk of them."""
    launch = Launch.read(Path(config.launch))
    exec_config = strictly(ExecConfig, OmegaConf.to_container(config.exec, resolve=True), "exec")  # type: ignore[arg-type]
    make_importable(launch.root, exec_config.plugins)
    hydra_config = HydraConfig.get()
    model = hydra_config.runtime.choices["model"]
    if hydra_config.launcher["_target_"] == PROCESSES:
        exec_config = exec_config.model_copy(update={"device": gpu_of(hydra_config.job.num, exec_config.device)})
    chunk = None if config.chunk is None else str(config.chunk)
    compute(launch, [model], parse_share(chunk), exec_config, f"{model}_{(chunk or 'all').replace('/', 'of')}")


def gpu_of(number: int, device: str) -> str:
    """The device of one of several jobs on one machine: they share its GPUs, unless the device has a number."""
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{number % torch.cuda.device_count()}"


def _finish(
    root: StudyRoot, study: str, launch: Launch | None, computed_before: int, lost: Sequence[str], share: bool
) -> RunResult:
    """Log which cells are complete, by the shards on disk and not by exit codes of jobs.

    After a share of the clips, a cell that is not complete has not failed.
    """
    registration = freeze.load(root, study)
    attempts = Attempts.of(registration)
    attempt = launch.attempt if launch else attempts.under_way
    folder = root.attempt(study, registration.root_digest, attempt)
    stored = stored_cells(registration, attempts, attempt, folder)
    planned = launch.cells if launch else {}
    left = [name for name in planned if name not in stored]
    failed: list[str] = []
    if launch and left:
        since, cells = registration.ledger.leaves[launch.sequence].at, {planned[name] for name in left}
        recent = [
            one for one in failures(folder) if one.at >= since and cells.intersection(map(VideoCell, one.cells))
        ]
        failed = [_describe(failure) for failure in recent] + list(lost)
        if failed or not share:
            ledger.append(
                root,
                Failed,
                study=study,
                document=registration.digest,
                attempt=attempt,
                cells=left,
                messages=failed,
            )
    complete = attempts.current.keys() <= stored.keys()
    if complete and not attempts.covered(attempt):
        current = [stored[name] for name in attempts.current]
        _complete(root, registration, attempt, manifests_root(current), len(current))
    if complete:
        discard_journal(folder)
    checkpoint = str(ledger.read(root).checkpoint())
    return RunResult(
        study,
        attempt,
        len(planned) + computed_before,
        computed_before,
        len(planned) - len(left),
        len(left) if share and not failed else 0,
        tuple(failed),
        complete,
        checkpoint,
    )


def _describe(failure: RunFailure) -> str:
    """One line: the cells, the clip and the message."""
    more = f" and {len(failure.cells) - 1} more cells" if len(failure.cells) > 1 else ""
    return f"{VideoCell(failure.cells[0])}{more}, {failure.unit_name}: {failure.message}"


class _LoggedAlready(Exception):
    """Another run has logged the completion."""


def _complete(root: StudyRoot, registration: Registration, attempt: int, manifests: Digest, cells: int) -> None:
    study = registration.document.study

    def not_yet(view: LedgerView) -> None:
        if Attempts.of(freeze.load(root, study, view)).covered(attempt):
            raise _LoggedAlready

    with suppress(_LoggedAlready):
        ledger.append(
            root,
            Completed,
            study=study,
            document=registration.digest,
            attempt=attempt,
            root=manifests,
            cells=cells,
            prepare=not_yet,
        )


def unfinished(result: RunResult) -> StressError:
    """The error for a run that ended without all requested cells."""
    missing = result.cells - result.computed_before - result.computed
    return MachineFailure(
        f"{missing} of {result.cells} cells were not computed; the others are kept",
        found="\n    ".join(["", *result.failed[:10]]).rstrip() or "the jobs ended without an error message",
        fix="remove the cause, then run the same command again; it computes the missing cells only",
    )


def explore(root: StudyRoot, study: str, request: Request) -> dict[str, Any]:
    """Compute any combination of building blocks with a study's seed, frames, resolution and numerics.

    The results never enter a verdict: the cells belong to a separate, unregistered design, and the launch is logged
    as exploratory.

    Raises:
        StressError: when a building block is unknown, or a cell fails.
    """
    request.verify_launcher(study)
    registration = freeze.load(root, study)
    blocks, exec_config = request.blocks, request.exec_config
    design = exploratory_design(as_video(registration.document.design), request.cell_filter, blocks)
    data = canonical_json(design.model_dump(mode="json"))
    digest = sha256(data)
    folder = root.outputs(study, registration.root_digest) / "exploratory" / digest.short
    write_durably(folder / "design.json", data)
    manifests = {name: clip_manifest(name, blocks, exec_config, design.frames) for name in design.datasets}
    for name, manifest in manifests.items():
        write_durably(root.clips(study, name, sha256(manifest)), manifest)
    weights = {name: blocks.encoder(name).identify(exec_config.weights.expanduser()) for name in design.models}
    clips = {name: sha256(manifest) for name, manifest in manifests.items()}
    targets = blocks.targets(kinds_of(design, design.cells), study)
    code = code_state(blocks.plugins)
    names = {cell: cell_id(digest, cell) for cell in design.cells}
    _, checkpoint = ledger.append(
        root,
        Explored,
        study=study,
        document=digest,
        cells=list(names.values()),
        code=code.digest,
        dirty=code.dirty,
        commit=code.commit,
        identities={"weights": weights, "clips": clips},
        specs={name: entry.spec_digest for name, entry in design.datasets.items()},
    )
    launch = Launch(
        root=root.path,
        study=study,
        document=folder / "design.json",
        prereg_digest=digest,
        exploratory=True,
        attempt=1,
        attempt_folder=folder,
        cells={name: cell for cell, name in names.items() if not (folder / "cells" / name).exists()},
        ledger_checkpoint=CheckpointRecord(size=checkpoint.size, root=checkpoint.root),
        code=code,
        weights=weights,
        clips=clips,
        targets=targets,
    )
    if launch.cells:
        launch.write()
        with sign_of_life(launch.sign):
            lost = run_jobs(launch, request)
        missing = [name for name, cell in launch.cells.items() if not launch.cell_folder(cell).exists()]
        if missing:
            since = launch.ledger_checkpoint.size
            messages = [_describe(failure) for failure in failures(folder)][-len(missing) :] + lost
            raise BadInput(
                f"{len(missing)} exploratory cells failed",
                where=f"line {since} of the ledger",
                found="\n    ".join(["", *messages[:10]]),
                fix="remove the cause, then run the same command again; it computes the missing cells only",
            )
        discard_journal(folder)
    return {"exploratory": True, "cells": len(design.cells), "folder": str(folder / "cells")}
