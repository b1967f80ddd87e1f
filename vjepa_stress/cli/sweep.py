"""Commands that compute and count cells: run, rerun, status."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Annotated

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.options import ConfigDir, Json, Overrides, Root, Study, Verify, request_of
from vjepa_stress.cli.output import Result
from vjepa_stress.cli.parser import command


@command("vjepa-stress run mine exec.threads=2")
def run(
    study: Study,
    overrides: Overrides = None,
    again: Annotated[
        bool, typer.Option("--again", help="start another attempt; the first complete attempt is judged")
    ] = False,
    deviation: Annotated[
        str | None,
        typer.Option("--deviation", metavar="WHY", help="continue an attempt with changed code, for this reason"),
    ] = None,
    exploratory: Annotated[
        bool, typer.Option("--exploratory", help="allow cells outside the design; they are never judged")
    ] = False,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="no effect: every run is a Hydra multirun")
    ] = False,
    verify: Verify = None,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Compute the registered cells that are missing.

    Each model is one Hydra job. The overrides model, data, perturbation, strength and seed select cells; separate
    several values by commas. Overrides of exec set where and how fast the cells are computed. The same command
    continues an interrupted run.
    """
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep import app

    del multirun
    where = StudyRoot.find(given=root)
    request = request_of(overrides, config_dir, where, verify=verify)
    if exploratory:
        return Result(app.explore(where, study, request), as_json)
    done = app.sweep(where, study, request, again=again, deviation=deviation)
    if done.computed_before + done.computed < done.cells:
        raise app.unfinished(done)
    if done.computed == 0:
        output.say("nothing to do: all requested cells have results (--again starts another attempt)")
    following = "verdict" if done.complete else "status"
    return Result(dataclasses.asdict(done), as_json, next=output.next_command(following, study, root=root))


@command("vjepa-stress rerun mine --cells 3")
def rerun(
    study: Study,
    overrides: Overrides = None,
    cells: Annotated[int, typer.Option("--cells", min=1, help="number of cells, chosen at random")] = 3,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="seed of the choice, to repeat an earlier rerun")
    ] = None,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Compute a few cells again and compare them.

    Chooses cells at random from the judged attempt. Exits with 3 when a value differs by more than 1e-5. Writes
    nothing.
    """
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.rerun import TOLERANCE
    from vjepa_stress.sweep.rerun import rerun as compute_again

    where = StudyRoot.find(given=root)
    chosen = secrets.randbelow(2**32) if seed is None else seed
    request = request_of(overrides, config_dir, where).without_cell_filter()
    comparisons = compute_again(where, study, cells, chosen, request.blocks, request.exec_config)
    for cell in comparisons:
        differs = f"within {TOLERANCE:g}; the largest difference is {cell.largest:.1e}"
        output.say(f"{cell.cell}: {'the same to the last bit' if cell.same else differs}")
    values = {
        "study": study,
        "seed": chosen,
        "same": sum(cell.same for cell in comparisons),
        "close": sum(not cell.same for cell in comparisons),
        "cells": {str(cell.cell): {"same": cell.same, "largest_difference": cell.largest} for cell in comparisons},
    }
    return Result(values, as_json)


@command("vjepa-stress status mine")
def status(study: Study, root: Root = None, as_json: Json = False) -> Result:
    """Count complete, missing and failed cells."""
    from vjepa_stress.evidence.status import status_of
    from vjepa_stress.study_root import StudyRoot

    values = status_of(StudyRoot.find(given=root), study)
    following = "verdict" if values["completed"] else "run"
    return Result(values, as_json, next=output.next_command(following, study, root=root))
