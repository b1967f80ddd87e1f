"""Progress of launches, counted from the names of files: fast, also for large studies. `audit` verifies contents."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from vjepa_stress.digest import canonical_json
from vjepa_stress.disk import write_durably
from vjepa_stress.fields import Frozen
from vjepa_stress.records.journal import FOLDER as JOURNAL
from vjepa_stress.records.life import Life, lives

LAUNCHES = "launches"
"""Name of the folder of launches in the folder of an attempt."""


class GroupOutline(Frozen):
    """Cells of a launch that are computed together."""

    journal: str = Field(description="folder name of their rows in the journal")
    units: tuple[str, ...] = Field(
        description="short digests of the units; file names in the journal begin with them"
    )
    cells: tuple[str, ...] = Field(description="folder names of the cells")


class Outline(Frozen):
    """What a launch computes, as far as counting needs it."""

    schema_: Literal["vjepa-stress/outline/v1"] = Field(alias="schema", default="vjepa-stress/outline/v1")
    groups: tuple[GroupOutline, ...]

    def write(self, folder: Path) -> None:
        """Write the outline to the folder of its launch."""
        write_durably(folder / "outline.json", canonical_json(self.model_dump(mode="json", by_alias=True)))


@dataclass(frozen=True)
class Count:
    """Units, computed for each group, and cells: done and in total.

    Attributes:
        units, all_units: units done and in total; each counts once for each group, such as a model.
        cells, all_cells: cells whose units are all done, and all cells.
        complete: folder names of those cells.
    """

    units: int
    all_units: int
    cells: int
    all_cells: int
    complete: frozenset[str]


def count(attempt: Path, outline: Outline) -> Count:
    """Count what the journal and the folder of cells have."""
    units = all_units = 0
    complete: set[str] = set()
    for group in outline.groups:
        wanted = set(group.units)
        done = {path.name.split("-")[0] for path in (attempt / JOURNAL / group.journal).glob("*.jsonl")} & wanted
        if done != wanted and all((attempt / "cells" / name).exists() for name in group.cells):
            done = wanted
        units, all_units = units + len(done), all_units + len(wanted)
        if done == wanted:
            complete.update(group.cells)
    total = sum(len(group.cells) for group in outline.groups)
    return Count(units, all_units, len(complete), total, frozenset(complete))


@dataclass(frozen=True)
class LaunchProgress:
    """Progress of one launch.

    Attributes:
        sequence: number of its line in the ledger.
        counted: its units and cells.
        jobs: processes that work or worked for it and did not end cleanly, with their last signs of life.
        running: whether one of them is alive.
        seconds_left: estimated from the units computed since its start; None before the first.
    """

    sequence: int
    counted: Count
    jobs: tuple[Life, ...]
    running: bool
    seconds_left: float | None


def launches(attempt: Path) -> Iterator[LaunchProgress]:
    """Progress of the launches of an attempt, oldest first; those without a readable outline are left out."""
    folders = [path for path in (attempt / LAUNCHES).glob("*") if path.name.isdigit()]
    for folder in sorted(folders, key=lambda path: int(path.name)):
        path = folder / "outline.json"
        with suppress(OSError, ValidationError):
            outline = Outline.model_validate_json(path.read_bytes())
            jobs = (*lives(folder), *lives(folder / "jobs"))
            counted = count(attempt, outline)
            running = any(job.alive for job in jobs)
            left = (
                _seconds_left(attempt, outline, counted, path.stat().st_mtime, int(folder.name)) if running else None
            )
            yield LaunchProgress(int(folder.name), counted, jobs, running, left)


def _seconds_left(attempt: Path, outline: Outline, counted: Count, started: float, sequence: int) -> float | None:
    files = [
        path.stat().st_mtime
        for group in outline.groups
        for path in (attempt / JOURNAL / group.journal).glob(f"*-{sequence}-*.jsonl")
    ]
    if not files:
        return None
    return (time.time() - started) / len(files) * (counted.all_units - counted.units)
