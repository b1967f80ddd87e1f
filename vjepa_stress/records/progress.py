"""Progress of launches, counted from the headers of the journal: fast, also for large studies."""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from vjepa_stress.digest import canonical_json
from vjepa_stress.disk import write_durably
from vjepa_stress.fields import Frozen
from vjepa_stress.records.journal import FOLDER as JOURNAL
from vjepa_stress.records.journal import read_header
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


class Counter:
    """Counts what the journal and the folder of cells have of a launch. Each file of the journal is read once.

    Args:
        attempt: the folder of the attempt.
        outline: what the launch computes.
    """

    def __init__(self, attempt: Path, outline: Outline) -> None:
        self._attempt, self._outline = attempt, outline
        self._groups = [{name: 1 << k for k, name in enumerate(group.cells)} for group in outline.groups]
        self._cells_of_file: dict[Path, int] = {}

    def count(self) -> Count:
        """Count what is there now."""
        units = all_units = 0
        complete: set[str] = set()
        stored = {path.name for path in (self._attempt / "cells").glob("*")}
        for group, bits in zip(self._outline.groups, self._groups, strict=True):
            everything, assembled = sum(bits.values()), sum(bit for name, bit in bits.items() if name in stored)
            found = dict.fromkeys(group.units, assembled)
            for path in (self._attempt / JOURNAL / group.journal).glob("*.jsonl"):
                unit = path.name.split("-")[0]
                if unit in found:
                    found[unit] |= self._cells(path, bits)
            of_all_units = functools.reduce(operator.and_, found.values(), everything)
            units, all_units = units + sum(cells == everything for cells in found.values()), all_units + len(found)
            complete.update(name for name, bit in bits.items() if bit & of_all_units)
        total = sum(len(group.cells) for group in self._outline.groups)
        return Count(units, all_units, len(complete), total, frozenset(complete))

    def _cells(self, path: Path, bits: Mapping[str, int]) -> int:
        """Cells of a group that a file has, one bit for each: a file may hold only some of them."""
        if path not in self._cells_of_file:
            header = read_header(path)
            names = header.cells if header else ()
            self._cells_of_file[path] = sum(bits.get(name, 0) for name in set(names))
        return self._cells_of_file[path]


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
            counted = Counter(attempt, outline).count()
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
