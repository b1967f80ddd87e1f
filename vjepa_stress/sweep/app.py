"""The Hydra application behind `vjepa-stress run`: plan here, compute in Hydra's jobs, judge by the disk."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vjepa_stress import ledger
from vjepa_stress.design.video import VideoCell, as_video
from vjepa_stress.digest import canonical_json, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadInput, MachineFailure, StressError
from vjepa_stress.ledger import Completed, Explored, Failed
from vjepa_stress.prereg import freeze
from vjepa_stress.provenance import code_state, make_importable, shipped
from vjepa_stress.records import Attempts, CheckpointRecord, cell_id, failures, manifests_root
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import ExecConfig, strictly
from vjepa_stress.sweep.draft import CellFilter, beside_the_design, clip_manifest
from vjepa_stress.sweep.plan import Launch, kinds_of, prepare, stored_cells
from vjepa_stress.sweep.progress import progress
from vjepa_stress.sweep.request import FIELDS, Request, refused
from vjepa_stress.sweep.run import run_cells
from vjepa_stress.sweep.settings import quoted


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    Attributes:
        study, attempt: what was worked on.
        cells: cells that were asked for.
        there: how many of them had been computed before.
        computed: how many were computed now.
        failed: messages of those that failed.
        complete: the attempt has every registered cell.
        checkpoint: the ledger afterwards.
    """

    study: str
    attempt: int
    cells: int
    there: int
    computed: int
    failed: tuple[str, ...]
    complete: bool
    checkpoint: str


def sweep(
    root: StudyRoot, study: str, request: Request, *, again: bool = False, deviation: str | None = None
) -> RunResult:
    """Compute the missing cells that were asked for, and log what happened.

    Raises:
        StressError: when nothing may run, or the machine gave up; what was complete is kept.
    """
    registration = freeze.load(root, study)
    blocks, place = request.blocks, request.place
    launch, there = prepare(root, registration, request.wanted, blocks, place, again=again, deviation=deviation)
    if launch is not None:
        _run_hydra(launch, request)
    return _finish(root, study, launch, there)


def _run_hydra(launch: Launch, request: Request) -> None:
    """Hand the launch to Hydra: one job a model unless the command line says otherwise."""
    overrides = [*request.overrides, f"study={launch.study}", f"launch={quoted(str(launch.write()))}"]
    if request.wanted.model is None:
        overrides.append("model=" + ",".join(sorted({cell.model for cell in launch.cells})))
    if request.place.chunks > 1:
        n = request.place.chunks
        overrides.append("chunk=" + ",".join(f"'{k}/{n}'" for k in range(1, n + 1)))
    overrides += [f"hydra.sweep.dir={quoted(str(launch.folder / 'hydra'))}", "--multirun"]
    if request.config_dir:
        overrides += ["--config-dir", str(request.config_dir.resolve())]
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    # Hydra turns every exception into exit code 1 and a shortened traceback unless told to let it through.
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["vjepa-stress run", *overrides], "1"
    try:
        hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise refused(error) from error
    finally:
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["HYDRA_FULL_ERROR"]


def job(config: DictConfig) -> None:
    """One Hydra job: the cells of a launch that this job's configuration names."""
    launch = Launch.read(Path(config.launch))
    place = strictly(ExecConfig, OmegaConf.to_container(config.exec, resolve=True), "exec")  # type: ignore[arg-type]
    make_importable(launch.root, place.plugins)
    chosen = HydraConfig.get().runtime.choices
    wanted = CellFilter(
        **{
            field: (chosen[group],)
            for group, field in FIELDS.items()
            if group not in ("strength", "seed") and chosen.get(group) not in (None, "null")
        },
        strength=None if config.strength is None else (float(config.strength),),
        seed=None if config.seed is None else (int(config.seed),),
    )
    cells = _share([cell for cell in launch.cells if wanted.admits(cell)], config.chunk)
    with progress(chosen["model"] if wanted.model else "cells", len(cells)) as advance:
        run_cells(launch, cells, place, lambda cell: advance(str(cell)))


def _share(cells: list[VideoCell], chunk: str | None) -> list[VideoCell]:
    if chunk is None:
        return cells
    k, _, n = str(chunk).partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise BadInput("a chunk is k/n", found=chunk, expected="for instance 1/4")
    return cells[int(k) - 1 :: int(n)]


def _finish(root: StudyRoot, study: str, launch: Launch | None, there: int) -> RunResult:
    """Judge what is done by the shards on the disk, never by exit codes, and log it."""
    registration = freeze.load(root, study)
    attempts = Attempts.of(registration)
    attempt = launch.attempt if launch else attempts.under_way
    folder = root.attempt(study, registration.root_digest, attempt)
    stored = stored_cells(registration, attempts, attempt, folder)
    planned = launch.cells if launch else ()
    left = tuple(cell for cell in planned if launch and launch.cell_folder(cell).name not in stored)
    failed: list[str] = []
    if launch and left:
        since = registration.ledger.leaves[launch.ledger_checkpoint.size - 1].at
        failed = [f"{f.cell}: {f.message}" for f in failures(folder) if f.at >= since and f.cell in left]
        ledger.append(
            root,
            Failed,
            study=study,
            document=registration.digest,
            attempt=attempt,
            cells=[launch.cell_folder(cell).name for cell in left],
            messages=failed,
        )
    complete = attempts.current.keys() <= stored.keys()
    if complete and not attempts.covered(attempt):
        mine = [stored[name] for name in attempts.current]
        ledger.append(
            root,
            Completed,
            study=study,
            document=registration.digest,
            attempt=attempt,
            root=manifests_root(mine),
            cells=len(mine),
        )
    checkpoint = str(ledger.read(root).checkpoint())
    return RunResult(
        study, attempt, len(planned) + there, there, len(planned) - len(left), tuple(failed), complete, checkpoint
    )


def unfinished(result: RunResult) -> StressError:
    """The error that says which cells of a finished run are missing."""
    missing = result.cells - result.there - result.computed
    return MachineFailure(
        f"{missing} of {result.cells} cells were not computed; the others are kept",
        found="\n    ".join(["", *result.failed[:10]]).rstrip() or "the jobs ended without an error message",
        fix="remove the cause, then run the same command again: it computes only what is missing",
    )


def explore(root: StudyRoot, study: str, request: Request) -> dict[str, Any]:
    """Compute any combination of building blocks under a study's seed, frames, resolution and numerics.

    Nothing of it can reach a verdict: the cells are bound to a design of their own that no ledger registers, and
    the launch is logged as exploratory.

    Raises:
        StressError: when something is unknown, or a cell fails.
    """
    registration = freeze.load(root, study)
    blocks, place = request.blocks, request.place
    design = beside_the_design(as_video(registration.document.design), request.wanted, blocks)
    data = canonical_json(design.model_dump(mode="json"))
    digest = sha256(data)
    folder = root.outputs(study, registration.root_digest) / "exploratory" / digest.short
    write_durably(folder / "design.json", data)
    manifests = {name: clip_manifest(name, blocks, place, design.frames) for name in design.datasets}
    for name, manifest in manifests.items():
        write_durably(root.clips(study, name, sha256(manifest)), manifest)
    weights = {name: blocks.encoder(name).identify(place.weights.expanduser()) for name in design.models}
    clips = {name: sha256(manifest) for name, manifest in manifests.items()}
    targets = blocks.targets(kinds_of(design, design.cells), study)
    code = code_state(blocks.plugins)
    cells = tuple(cell for cell in design.cells if not (folder / "cells" / cell_id(digest, cell)).exists())
    _, checkpoint = ledger.append(
        root,
        Explored,
        study=study,
        document=digest,
        cells=[cell_id(digest, cell) for cell in design.cells],
        code=code.digest,
        dirty=code.dirty,
        commit=code.commit,
        identities={"weights": weights, "clips": clips},
        specs={name: entry.spec_digest for name, entry in design.datasets.items()},
    )
    launch = Launch(
        schema="vjepa-stress/launch/v1",
        root=root.path,
        study=study,
        document=folder / "design.json",
        prereg_digest=digest,
        exploratory=True,
        attempt=1,
        folder=folder,
        cells=cells,
        names=tuple(cell_id(digest, cell) for cell in cells),
        ledger_checkpoint=CheckpointRecord(size=checkpoint.size, root=checkpoint.root),
        code=code,
        weights=weights,
        clips=clips,
        targets=targets,
    )
    with progress("exploratory cells", len(launch.cells)) as advance:
        outcome = run_cells(launch, launch.cells, place, lambda cell: advance(str(cell)))
    for message in outcome.failed:
        raise BadInput("an exploratory cell failed", found=message)
    return {"exploratory": True, "cells": len(design.cells), "folder": str(folder / "cells")}
