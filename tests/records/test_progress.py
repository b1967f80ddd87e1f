"""Counting what a launch has: units are done with all cells, and cells with all units."""

from __future__ import annotations

import random
from pathlib import Path

from tests.records.test_journal import header
from vjepa_stress.digest import sha256
from vjepa_stress.records.journal import write_rows
from vjepa_stress.records.life import sign_of_life
from vjepa_stress.records.progress import Counter, GroupOutline, Outline, launches

UNITS = [sha256(f"clip {k}".encode()) for k in range(4)]
CELLS = tuple(f"cell{k}" for k in range(5))
OUTLINE = Outline(
    groups=(
        GroupOutline(journal="tiny-few-0", units=tuple(unit.short for unit in UNITS), cells=CELLS),
        GroupOutline(journal="wide-few-1", units=tuple(unit.short for unit in UNITS), cells=("other",)),
    )
)


def write(attempt: Path, unit: int, cells: tuple[str, ...], job: str = "job", launch: int = 3) -> None:
    folder = attempt / "journal" / "tiny-few-0"
    write_rows(folder, header(cells, launch, UNITS[unit]), job, [({}, {}) for _ in cells])


def test_nothing_then_everything(tmp_path: Path) -> None:
    counter = Counter(tmp_path, OUTLINE)
    found = counter.count()
    assert (found.units, found.all_units, found.cells, found.all_cells) == (0, 8, 0, 6)
    for unit in range(4):
        write(tmp_path, unit, CELLS)
        assert counter.count().units == unit + 1
    assert counter.count().complete == set(CELLS)
    (tmp_path / "cells" / "other").mkdir(parents=True)
    found = counter.count()
    assert (found.units, found.cells) == (8, 6)


def test_counts_are_those_of_a_plain_count(tmp_path: Path) -> None:
    """Files with some of the cells, in several jobs and launches, against sets of pairs."""
    chance, known, cells = random.Random(3), set[tuple[int, str]](), set[str]()
    counter = Counter(tmp_path, OUTLINE)
    for number in range(60):
        unit, some = chance.randrange(4), tuple(chance.sample([*CELLS, "of another launch"], chance.randint(1, 3)))
        write(tmp_path, unit, some, f"job{number}", chance.randint(2, 5))
        known |= {(unit, cell) for cell in some}
        if number == 25:
            (tmp_path / "cells" / "cell3").mkdir(parents=True)
            (tmp_path / "cells" / ".tmp-cell4").mkdir()
            cells.add("cell3")
        found = counter.count()
        complete = {cell for cell in CELLS if cell in cells or all((unit, cell) in known for unit in range(4))}
        assert found.complete == complete
        units = [unit for unit in range(4) if all(cell in cells or (unit, cell) in known for cell in CELLS)]
        assert found.units == len(units)
        assert Counter(tmp_path, OUTLINE).count() == found  # as a process that starts now
    assert found.units == 4


def test_a_damaged_header_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, 0, CELLS)
    (path,) = (tmp_path / "journal").glob("*/*")
    path.write_bytes(path.read_bytes()[1:])
    assert Counter(tmp_path, OUTLINE).count().units == 0


def test_launches_run_while_a_process_of_them_lives(tmp_path: Path) -> None:
    for number in (1, 10, 9):
        OUTLINE.write(tmp_path / "launches" / str(number))
    (tmp_path / "launches" / "5").mkdir()  # not written yet
    with sign_of_life(tmp_path / "launches" / "9" / "jobs" / "one.json"):
        write(tmp_path, 0, CELLS, launch=10)
        found = list(launches(tmp_path))
        assert [launch.sequence for launch in found] == [1, 9, 10]
        assert [launch.running for launch in found] == [False, True, False]
        assert [job.path.stem for job in found[1].jobs] == ["one"]
        assert [launch.seconds_left is None for launch in found] == [True, False, True]
        assert found[1].seconds_left is not None
        assert found[1].seconds_left >= 0
    assert not any(launch.running for launch in launches(tmp_path))
