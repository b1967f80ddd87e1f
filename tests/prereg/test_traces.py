"""What lies in an output folder, held against the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.small import study
from vjepa_stress.digest import sha256
from vjepa_stress.errors import LedgerTampered, ResultTampered
from vjepa_stress.ledger import log as ledger
from vjepa_stress.prereg.traces import check_outputs, check_shown, logged
from vjepa_stress.study_root import StudyRoot


def test_every_file_that_was_shown_is_known_by_its_bytes(finished: StudyRoot) -> None:
    known, folder = logged(ledger.read(finished), "small"), study.outputs(finished)
    assert {"verdict.json", "report.html", "report.md"} <= set(known)
    for name, digests in known.items():
        assert sha256((folder / name).read_bytes()) == digests[-1]
    assert logged(ledger.read(finished), "other") == {}
    check_shown(folder, ledger.read(finished), "small")


def test_a_changed_result_is_found(attacked: StudyRoot) -> None:
    folder, view = study.outputs(attacked), ledger.read(attacked)
    for name in ("verdict.json", "report.html", "report.md", "report-M2.svg"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data + b"\n")
        with pytest.raises(ResultTampered) as error:
            check_shown(folder, view, "small")
        assert error.value.where == folder / name
        assert error.value.expected == sha256(data)
        (folder / name).write_bytes(data)
    check_shown(folder, view, "small")


@pytest.mark.parametrize("name", ["verdict-2.json", "report-new.md", "exploratory/report.html"])
def test_a_result_that_no_look_logged_is_found(attacked: StudyRoot, name: str) -> None:
    folder, view = study.outputs(attacked), ledger.read(attacked)
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "verdict.json", folder / name)
    with pytest.raises(ResultTampered) as error:
        check_shown(folder, view, "small")
    assert error.value.where == folder / name


def test_a_missing_result_and_notes_of_ones_own_are_no_tampering(attacked: StudyRoot) -> None:
    folder = study.outputs(attacked)
    (folder / "report.md").unlink()
    (folder / "notes.txt").write_text("my own")
    check_shown(folder, ledger.read(attacked), "small")


def test_outputs_lie_under_the_registration_that_the_ledger_holds(tmp_path: Path) -> None:
    root = StudyRoot(tmp_path)
    check_outputs(root, "mine")
    mine, other = (tmp_path / "outputs" / "mine" / name for name in ("a1b2", "c3d4"))
    mine.mkdir(parents=True)
    check_outputs(root, "mine", mine)
    with pytest.raises(LedgerTampered) as error:
        check_outputs(root, "mine")
    assert error.value.where == mine
    (other.parent / ".cache").mkdir()
    (other.parent / "file.txt").write_text("")
    check_outputs(root, "mine", mine)
    other.mkdir()
    with pytest.raises(LedgerTampered) as error:
        check_outputs(root, "mine", mine)
    assert error.value.where == other
    assert error.value.expected == "only a1b2"
    check_outputs(root, "another")
