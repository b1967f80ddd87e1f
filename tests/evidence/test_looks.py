"""Whoever evaluates through the library logs a look, before anything is shown."""

from __future__ import annotations

import shutil

import pytest

from tests.evidence.attack import cell, keep_leaves, without_results
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.digest import sha256
from vjepa_stress.errors import CannotWrite, CellsIncomplete, ShardTampered
from vjepa_stress.evidence import looks
from vjepa_stress.evidence.audit import audit
from vjepa_stress.evidence.looks import look_report, look_verdict
from vjepa_stress.ledger import Viewed
from vjepa_stress.prereg import freeze
from vjepa_stress.study_root import StudyRoot


@pytest.fixture
def unseen(attacked: StudyRoot) -> StudyRoot:
    """The finished study, and nobody looked at it yet."""
    keep_leaves(attacked, 3)
    without_results(attacked)
    assert ledger.read(attacked).of("small", Viewed) == ()
    return attacked


def test_a_verdict_is_logged_with_the_bytes_that_are_shown(unseen: StudyRoot) -> None:
    look = look_verdict(unseen, "small")
    (leaf,) = ledger.read(unseen).of("small", Viewed)
    assert look.file == study.outputs(unseen) / "verdict.json"
    assert look.file.read_bytes() == look.verdict.to_bytes()
    assert leaf.files == {"verdict.json": sha256(look.verdict.to_bytes())}
    assert (leaf.look, leaf.exploratory) == ("verdict", False)
    assert leaf.document == freeze.load(unseen, "small").digest
    assert set(audit(unseen, "small").verdicts) == {"C1", "H1", "H2"}


def test_a_report_is_logged_file_by_file(unseen: StudyRoot) -> None:
    look = look_report(unseen, "small")
    (leaf,) = ledger.read(unseen).of("small", Viewed)
    folder = study.outputs(unseen)
    assert leaf.look == "report"
    assert {"verdict.json", "report.html", "report.md"} < set(leaf.files)
    assert leaf.files == {name: sha256((folder / name).read_bytes()) for name in leaf.files}
    assert {path.name for path in folder.iterdir() if path.is_file()} == set(leaf.files)
    assert look.file == (folder / "report.html").resolve()


def test_every_look_is_another_leaf_and_the_verdict_stays_the_same(unseen: StudyRoot) -> None:
    first, second = (look_verdict(unseen, "small").file.read_bytes() for _ in range(2))
    assert first == second
    assert len(ledger.read(unseen).of("small", Viewed)) == 2


def test_what_the_gate_refuses_is_neither_shown_nor_logged(unseen: StudyRoot) -> None:
    (cell(unseen, "*tiny-gaussian_noise-0.2*") / "shard.parquet").write_bytes(b"nothing")
    for look in (look_verdict, look_report):
        for exploratory in (False, True):
            with pytest.raises(ShardTampered):
                look(unseen, "small", exploratory=exploratory)
    shutil.rmtree(cell(unseen, "*tiny-gaussian_noise-0.2*"))
    with pytest.raises(CellsIncomplete):
        look_verdict(unseen, "small")
    assert ledger.read(unseen).of("small", Viewed) == ()
    assert not list(study.outputs(unseen).glob("verdict*"))


def test_an_exploratory_look_is_logged_as_one_and_kept_apart(unseen: StudyRoot) -> None:
    shutil.rmtree(cell(unseen, "*tiny-gaussian_noise-0.2*"))
    assert look_verdict(unseen, "small", exploratory=True).file.name == "verdict.exploratory.json"
    assert look_report(unseen, "small", exploratory=True).file.parent.name == "exploratory"
    found = ledger.read(unseen).of("small", Viewed)
    assert [leaf.exploratory for leaf in found] == [True, True]
    assert not (study.outputs(unseen) / "verdict.json").exists()
    for leaf in found:
        assert all((study.outputs(unseen) / name).is_file() for name in leaf.files)


def test_the_leaf_comes_before_the_file(unseen: StudyRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that is cut off is logged, and shows nothing; the other way round it would be missing."""

    def fails(path: object, data: bytes) -> None:
        raise CannotWrite("the disk is full", where=path)

    monkeypatch.setattr(looks, "write_durably", fails)
    with pytest.raises(CannotWrite):
        look_verdict(unseen, "small")
    assert len(ledger.read(unseen).of("small", Viewed)) == 1
    assert not (study.outputs(unseen) / "verdict.json").exists()
