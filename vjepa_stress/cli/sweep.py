"""Commands that plan, compute and count cells: plan, run, rerun, status."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Annotated

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.options import ConfigDir, Json, Overrides, Root, Study, Verify, request_of
from vjepa_stress.cli.output import Result, Table
from vjepa_stress.cli.parser import command
from vjepa_stress.terminal import duration


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
    if done.computed_before + done.computed + done.waiting < done.cells:
        raise app.unfinished(done)
    if done.waiting:
        output.say(f"{done.waiting} cells wait for the clips of other shares")
    elif done.computed == 0:
        output.say("nothing to do: all requested cells have results (--again starts another attempt)")
    following = "verdict" if done.complete else "status"
    return Result(dataclasses.asdict(done), as_json, next=output.next_command(following, study, root=root))


@command("vjepa-stress plan mine --workers 16")
def plan(
    study: Study,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="also estimate the time with this number of workers")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="encode a clip with each model to measure the time")
    ] = True,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Estimate encodings, disk space and hours of the missing cells.

    Encodes a clip with each model to measure the time on this machine. Writes nothing.
    """
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.estimate import estimate

    where = StudyRoot.find(given=root)
    request = request_of(overrides, config_dir, where)
    cost = estimate(where, study, request.cell_filter, request.blocks, request.exec_config, calibrate)
    here, there = cost.seconds(cost.workers), cost.seconds(workers or cost.workers)
    rows = tuple(
        (
            group.model,
            group.dataset,
            str(group.cells),
            str(group.clips),
            str(group.encodings),
            "" if group.seconds is None else f"{group.seconds:.3g} s",
        )
        for group in cost.groups
    )
    columns = ("model", "data set", "missing cells", "clips", "encodings", "each, one thread")
    gigabytes = cost.bytes_needed / 1e9
    lines = [
        f"{study}: {cost.missing} of {cost.registered} cells are missing: {cost.encodings} encodings, "
        f"about {gigabytes:.2g} GB on the disk"
    ]
    if here is not None and cost.missing:
        lines.append(f"about {duration(here)} here, with {cost.workers} workers")
        if workers:
            lines.append(f"about {duration(there or 0)} with {workers} workers like one core of this machine")
    if cost.bytes_needed > cost.bytes_free:
        lines.append(f"warning: only {cost.bytes_free / 1e9:.2g} GB are free on this disk")
    values = {
        "study": study,
        "registered": cost.registered,
        "missing": cost.missing,
        "encodings": cost.encodings,
        "bytes_needed": cost.bytes_needed,
        "bytes_free": cost.bytes_free,
        "workers": workers or cost.workers,
        "seconds": None if there is None else round(there, 1),
        "groups": [dataclasses.asdict(group) | {"encodings": group.encodings} for group in cost.groups],
    }
    parts = ("\n".join(lines), *((Table(columns, rows),) if rows else ()))
    following = output.next_command("run" if cost.missing else "verdict", study, root=root)
    return Result(values, as_json, parts, next=following)


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
    """Count complete, missing and failed cells, and show the runs at work.

    Counts files, so that it is fast while jobs run; `audit` verifies what they contain.
    """
    from vjepa_stress.evidence.status import status_of
    from vjepa_stress.study_root import StudyRoot

    values = status_of(StudyRoot.find(given=root), study)
    running = any(job["state"] == "running" for job in values["jobs"])
    following = (
        None if running else output.next_command("verdict" if values["completed"] else "run", study, root=root)
    )
    lines = [
        f"{study} {values['version']}, attempt {values['attempt']}: {values['done']} of {values['registered']} cells "
        f"done, {values['missing']} missing, {values['failed']} failed"
    ]
    if running:
        left = values["seconds_left"]
        lines.append(
            f"running: {values['clips']} of {values['clips_of_run']} clips"
            + ("" if left is None else f", about {duration(left)} left")
        )
    jobs = tuple(
        (job["job"], job["state"], job["host"], str(job["process"]), f"{duration(job['seconds_since_sign'])} ago")
        for job in values["jobs"]
    )
    table = (Table(("job", "state", "host", "process", "last sign of life"), jobs),) if jobs else ()
    return Result(values, as_json, ("\n".join(lines), *table), next=following)
