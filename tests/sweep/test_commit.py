"""Cells from the journal: only rows that belong together, and each cell as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.small import study
from tests.sweep.launched import EXEC, launched, varied
from vjepa_stress.digest import sha256
from vjepa_stress.errors import MachineFailure
from vjepa_stress.provenance import CodeState
from vjepa_stress.records import read_cell
from vjepa_stress.records.journal import journal_files
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.commit import assemble, assemble_earlier, discard_journal
from vjepa_stress.sweep.launch import Launch
from vjepa_stress.sweep.worker import work


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """A launch with its journal, before anything is assembled."""
    launch = launched(study.registered(tmp_path_factory.mktemp("computed") / "root"))
    work(launch, launch.units(), EXEC)
    return launch


@pytest.fixture
def launch(computed: Launch, tmp_path: Path) -> Launch:
    """A copy of it, in a folder of its own."""
    shutil.copytree(computed.attempt_folder / "journal", tmp_path / "attempt" / "journal")
    return varied(computed, attempt_folder=tmp_path / "attempt")


def contents(launch: Launch) -> dict[str, str]:
    folders = (launch.attempt_folder / "cells").glob("*")
    return {path.name: read_cell(path).manifest.content_digest for path in folders if path.name[0] != "."}


def journal(launch: Launch) -> list[Path]:
    return sorted((launch.attempt_folder / "journal").glob("*/*.jsonl"))


def test_all_cells_are_those_of_a_run(launch: Launch, lean: StudyRoot) -> None:
    assert assemble(launch) == study.CELLS
    assert contents(launch) == study.contents(lean)
    assert assemble(launch) == 0  # nothing is written twice
    discard_journal(launch.attempt_folder)
    assert not (launch.attempt_folder / "journal").exists()
    discard_journal(launch.attempt_folder)


def test_a_missing_clip_holds_back_the_cells_of_its_model_only(launch: Launch, lean: StudyRoot) -> None:
    lost = journal(launch)[0]
    model = lost.parent.name.partition("-few-")[0]
    data = lost.read_bytes()
    for damage in (None, b"", data[:-1], data[:100], data.replace(b'"M1":', b'"M1" :', 1), data + b"{}\n"):
        lost.unlink(missing_ok=True)
        if damage is not None:
            lost.write_bytes(damage)
        written = assemble(launch)
        assert written in (0, 8)
        others = {name for name, cell in launch.cells.items() if cell.model != model}
        assert set(contents(launch)) == others
    lost.write_bytes(data)
    assert assemble(launch) == 8
    assert contents(launch) == study.contents(lean)


def test_rows_of_other_code_are_not_combined(launch: Launch) -> None:
    other = varied(launch, code=CodeState(digest=sha256(b"other"), dirty=False, commit=None))
    assert {group.journal for group in other.groups}.isdisjoint(group.journal for group in launch.groups)
    assert assemble(other) == 0
    # Not even when their files are put in its folder.
    for mine, theirs in zip(other.groups, launch.groups, strict=True):
        shutil.copytree(theirs.journal, mine.journal)
        assert len(list(journal_files(mine.journal))) == 3
    assert assemble(other) == 0
    assert not (launch.attempt_folder / "cells").exists()


def test_rows_of_two_launches_are_combined(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    first = launched(root)
    units = first.units()
    work(first, [units[0], units[3]], EXEC)
    second = launched(root)
    assert second.sequence == first.sequence + 1
    assert [group.facts for group in second.groups] == [group.facts for group in first.groups]
    before = {path: path.read_bytes() for path in journal(first)}
    work(second, second.units(), EXEC)
    assert {path: path.read_bytes() for path in before} == before
    assert len(journal(second)) == 6
    assert assemble_earlier(second.attempt_folder) == study.CELLS
    assert study.contents(root) == study.contents(lean)
    for path in study.cells(root).iterdir():
        manifest = read_cell(path).manifest
        assert manifest.ledger_checkpoint == second.ledger_checkpoint
        assert len(manifest.workers) == 1
    done = study.run(root)
    assert done.code == 0, done.err
    assert done.json["complete"]


def test_a_disk_that_gets_full_leaves_whole_cells(
    launch: Launch, lean: StudyRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, left = os.fsync, [0]

    def fail(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    for number in (0, 1, 2, 4, 7, 19):
        left[0] = number
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(MachineFailure, match="disk is full"):
                assemble(launch)
        found = contents(launch)  # reading verifies them
        assert len(found) < study.CELLS
        assert found.items() <= study.contents(lean).items()
        assert not list((launch.attempt_folder / "cells").glob(".*"))
    assemble(launch)
    assert contents(launch) == study.contents(lean)


def test_several_processes_may_assemble(launch: Launch, lean: StudyRoot) -> None:
    """Each cell is written by one of them."""
    written, start = list[int](), threading.Barrier(4)

    def one() -> None:
        mine = varied(launch)
        start.wait()
        written.append(assemble(mine))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(written) == study.CELLS
    assert contents(launch) == study.contents(lean)
