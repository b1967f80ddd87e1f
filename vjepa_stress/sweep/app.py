"""The Hydra application behind `vjepa-stress run`: plan, compute cells in Hydra jobs, count the shards on disk."""

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
from vjepa_stress.sweep.clips import clip_manifest
from vjepa_stress.sweep.draft import exploratory_design
from vjepa_stress.sweep.plan import Launch, kinds_of, prepare, stored_cells
from vjepa_stress.sweep.progress import progress
from vjepa_stress.sweep.request import FIELDS, Request, refused
from vjepa_stress.sweep.run import run_cells
from vjepa_stress.sweep.selection import CellFilter
from vjepa_stress.sweep.settings import quoted


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        study, attempt: the study and the number of the attempt.
        cells: number of requested cells.
        computed_before: how many of them had results before the run.
        computed: how many were computed by the run.
        failed: messages of the cells that failed.
        complete: whether the attempt has every registered cell.
        checkpoint: checkpoint of the ledger after the run.
    """

    study: str
    attempt: int
    cells: int
    computed_before: int
    computed: int
    failed: tuple[str, ...]
    complete: bool
    checkpoint: str


def sweep(
    root: StudyRoot, study: str, request: Request, *, again: bool = False, deviation: str | None = None
) -> RunResult:
    """Compute the requested cells that are missing, and log the outcome in the ledger.

    Raises:
        StressError: when the launch is refused, or the machine fails; complete cells are kept.
    """
    registration = freeze.load(root, study)
    blocks, exec_config = request.blocks, request.exec_config
    launch, computed_before = prepare(
        root, registration, request.cell_filter, blocks, exec_config, again=again, deviation=deviation
    )
    if launch is not None:
        _run_hydra(launch, request)
    return _finish(root, study, launch, computed_before)


def _run_hydra(launch: Launch, request: Request) -> None:
    """Run the launch with Hydra: one job per model, unless the command line selects models itself."""
    overrides = [*request.overrides, f"study={launch.study}", f"launch={quoted(str(launch.write()))}"]
    if request.cell_filter.model is None:
        overrides.append("model=" + ",".join(sorted({cell.model for cell in launch.cells})))
    if request.exec_config.chunks > 1:
        n = request.exec_config.chunks
        overrides.append("chunk=" + ",".join(f"'{k}/{n}'" for k in range(1, n + 1)))
    overrides += [f"hydra.sweep.dir={quoted(str(launch.folder / 'hydra'))}", "--multirun"]
    if request.config_dir:
        overrides += ["--config-dir", str(request.config_dir.resolve())]
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    # Without HYDRA_FULL_ERROR, Hydra turns every exception into exit code 1 and a shortened traceback.
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
    """One Hydra job: compute the cells of a launch that the job's configuration selects."""
    launch = Launch.read(Path(config.launch))
    exec_config = strictly(ExecConfig, OmegaConf.to_container(config.exec, resolve=True), "exec")  # type: ignore[arg-type]
    make_importable(launch.root, exec_config.plugins)
    chosen = HydraConfig.get().runtime.choices
    cell_filter = CellFilter(
        **{
            field: (chosen[group],)
            for group, field in FIELDS.items()
            if group not in ("strength", "seed") and chosen.get(group) not in (None, "null")
        },
        strength=None if config.strength is None else (float(config.strength),),
        seed=None if config.seed is None else (int(config.seed),),
    )
    cells = _share([cell for cell in launch.cells if cell_filter.admits(cell)], config.chunk)
    with progress(chosen["model"] if cell_filter.model else "cells", len(cells)) as advance:
        run_cells(launch, cells, exec_config, lambda cell: advance(str(cell)))


def _share(cells: list[VideoCell], chunk: str | None) -> list[VideoCell]:
    if chunk is None:
        return cells
    k, _, n = str(chunk).partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise BadInput(
            "invalid value of chunk",
            found=f"chunk={chunk}",
            expected="chunk=K/N with 1 <= K <= N, for instance chunk=1/4",
            fix="use exec.chunks=4 to split the cells of each model into 4 jobs",
        )
    return cells[int(k) - 1 :: int(n)]


def _finish(root: StudyRoot, study: str, launch: Launch | None, computed_before: int) -> RunResult:
    """Log which cells are complete, by the shards on disk and not by exit codes of jobs."""
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
        recent = [failure for failure in failures(folder) if failure.at >= since and failure.cell in left]
        failed = [f"{failure.cell}: {failure.message}" for failure in recent]
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
        current = [stored[name] for name in attempts.current]
        ledger.append(
            root,
            Completed,
            study=study,
            document=registration.digest,
            attempt=attempt,
            root=manifests_root(current),
            cells=len(current),
        )
    checkpoint = str(ledger.read(root).checkpoint())
    return RunResult(
        study,
        attempt,
        len(planned) + computed_before,
        computed_before,
        len(planned) - len(left),
        tuple(failed),
        complete,
        checkpoint,
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
        outcome = run_cells(launch, launch.cells, exec_config, lambda cell: advance(str(cell)))
    for message in outcome.failed:
        raise BadInput(
            "an exploratory cell failed",
            found=message,
            fix="remove the cause, then run the same command again; it computes the missing cells only",
        )
    return {"exploratory": True, "cells": len(design.cells), "folder": str(folder / "cells")}
