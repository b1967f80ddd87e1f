"""Commands that compute cells: run, rerun; and status, which says how many there are."""

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
        bool, typer.Option("--again", help="start another attempt; the first complete one counts")
    ] = False,
    deviation: Annotated[
        str | None, typer.Option("--deviation", metavar="WHY", help="why an attempt goes on with changed code")
    ] = None,
    exploratory: Annotated[
        bool, typer.Option("--exploratory", help="compute cells outside the design, which are never judged")
    ] = False,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="accepted as Hydra's; every run is a multirun")
    ] = False,
    verify: Verify = None,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Compute the registered cells that are missing.

    Without overrides these are all cells, one Hydra job a model. The keys model, data, perturbation and strength
    choose some of them, with several values separated by commas. The same command goes on after a stop.
    """
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep import app

    del multirun
    where = StudyRoot.find(given=root)
    request = request_of(overrides, config_dir, where, verify=verify)
    if exploratory:
        return Result(app.explore(where, study, request), as_json)
    done = app.sweep(where, study, request, again=again, deviation=deviation)
    if done.there + done.computed < done.cells:
        raise app.unfinished(done)
    if done.computed == 0:
        output.say("nothing to do: every cell that was asked for has been computed (for another attempt: --again)")
    follows = "verdict" if done.complete else "status"
    return Result(dataclasses.asdict(done), as_json, next=output.next_command(follows, study, root=root))


@command("vjepa-stress rerun mine --cells 3")
def rerun(
    study: Study,
    overrides: Overrides = None,
    cells: Annotated[int, typer.Option("--cells", min=1, help="how many, chosen at random")] = 3,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="choose the same cells as an earlier rerun did")
    ] = None,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Compute a few cells again, and compare.

    Cells of a complete attempt are chosen at random. Writes nothing.
    """
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.rerun import TOLERANCE
    from vjepa_stress.sweep.rerun import rerun as compute_again

    where = StudyRoot.find(given=root)
    chosen = secrets.randbelow(2**32) if seed is None else seed
    request = request_of(overrides, config_dir, where).choosing_nothing()
    found = compute_again(where, study, cells, chosen, request.blocks, request.place)
    for one in found:
        differs = f"not the same bits, but within {TOLERANCE:g}: the largest difference is {one.largest:.1e}"
        output.say(f"{one.cell}: {'the same to the last bit' if one.same else differs}")
    values = {
        "study": study,
        "seed": chosen,
        "same": sum(one.same for one in found),
        "close": sum(not one.same for one in found),
        "cells": {str(one.cell): {"same": one.same, "largest_difference": one.largest} for one in found},
    }
    return Result(values, as_json)


@command("vjepa-stress status mine")
def status(study: Study, root: Root = None, as_json: Json = False) -> Result:
    """Count cells that are done, missing and failed."""
    from vjepa_stress.evidence.status import status_of
    from vjepa_stress.study_root import StudyRoot

    values = status_of(StudyRoot.find(given=root), study)
    follows = "verdict" if values["completed"] else "run"
    return Result(values, as_json, next=output.next_command(follows, study, root=root))
