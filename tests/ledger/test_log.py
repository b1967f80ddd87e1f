"""The log against cuts at every byte, and against every single bit flip."""

import multiprocessing
import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.evidence.attack import said
from tests.ledger.examples import look
from tests.ledger.test_tree import naive_root
from vjepa_stress import ledger
from vjepa_stress.digest import sha256
from vjepa_stress.errors import AlreadyRegistered, BadDocument, LedgerTampered
from vjepa_stress.ledger import Checkpoint, Viewed
from vjepa_stress.ledger.checkpoint import Note
from vjepa_stress.study_root import StudyRoot


@pytest.fixture
def root(tmp_path: Path) -> StudyRoot:
    (tmp_path / "prereg").mkdir()
    root = StudyRoot(tmp_path)
    for number in range(5):
        look(root, number)
    return root


def test_root_is_that_of_rfc_6962(root: StudyRoot) -> None:
    lines = root.ledger.read_bytes().splitlines()
    view = ledger.read(root)
    for size in range(6):
        assert view.checkpoint(size).root.hex == naive_root(lines[:size]).hex()
    assert root.checkpoint.read_text() == f"{view.checkpoint()}\n"


def test_each_leaf_names_the_root_before_it(root: StudyRoot) -> None:
    view = ledger.read(root)
    assert [leaf.prev_root for leaf in view.leaves] == [view.checkpoint(size).root for size in range(5)]


@pytest.mark.parametrize("file", ["ledger", "checkpoint"])
def test_a_flipped_bit_in_any_byte_is_tampering(root: StudyRoot, file: str) -> None:
    path: Path = getattr(root, file)
    data = path.read_bytes()
    chance = random.Random(7)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(LedgerTampered):
            ledger.read(root)
    path.write_bytes(data)
    assert len(ledger.read(root).leaves) == 5


def test_a_kill_between_any_two_writes_of_an_append_loses_nothing(root: StudyRoot) -> None:
    old_ledger, old_checkpoint = root.ledger.read_bytes(), root.checkpoint.read_bytes()
    look(root, 5)
    line = root.ledger.read_bytes()[len(old_ledger) : -1]
    new_checkpoint = root.checkpoint.read_bytes()
    # Before the checkpoint is replaced, any part of the new line may be on the disk; afterwards only its newline
    # may be missing.
    states = [(old_ledger + line[:cut], old_checkpoint, 5) for cut in range(len(line) + 1)]
    states.append((old_ledger + line, new_checkpoint, 6))
    for data, checkpoint, leaves in states:
        root.ledger.write_bytes(data)
        root.checkpoint.write_bytes(checkpoint)
        view = ledger.read(root)
        assert len(view.leaves) == leaves
        assert bool(view.notices) == (leaves == 5 and data != old_ledger)
        look(root)
        after = ledger.read(root)
        assert len(after.leaves) == leaves + 1
        assert not after.notices
        assert after.contains(view.checkpoint())


def test_a_kill_during_the_very_first_append(tmp_path: Path) -> None:
    (tmp_path / "prereg").mkdir()
    root = StudyRoot(tmp_path)
    root.ledger.write_bytes(b'{"at":"2026')
    assert ledger.read(root).leaves == ()
    look(root)
    assert len(ledger.read(root).leaves) == 1


def _edited(lines: list[bytes], how: str) -> bytes:
    if how == "swapped":
        lines[1], lines[2] = lines[2], lines[1]
    elif how == "repeated":
        lines.insert(2, lines[1])
    elif how == "cut":
        lines.pop()
    elif how == "added":
        lines.append(lines[-1])
    elif how == "reserialised":
        lines[1] = lines[1].replace(b'":', b'": ')
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("how", ["swapped", "repeated", "cut", "added", "reserialised"])
def test_edits_are_tampering(root: StudyRoot, how: str) -> None:
    root.ledger.write_bytes(_edited(root.ledger.read_bytes().splitlines(), how))
    with pytest.raises(LedgerTampered):
        ledger.read(root)


@pytest.mark.parametrize("file", ["ledger", "checkpoint"])
def test_a_missing_file_is_tampering(root: StudyRoot, file: str) -> None:
    getattr(root, file).unlink()
    with pytest.raises(LedgerTampered):
        ledger.read(root)


def test_an_append_to_a_tampered_ledger_writes_nothing(root: StudyRoot) -> None:
    data = root.ledger.read_bytes().replace(b'"exploratory":false', b'"exploratory":true', 1)
    root.ledger.write_bytes(data)
    with pytest.raises(LedgerTampered):
        look(root)
    assert root.ledger.read_bytes() == data


def test_a_refused_append_writes_nothing(root: StudyRoot) -> None:
    before = root.ledger.read_bytes(), root.checkpoint.read_bytes()

    def refuse(view: ledger.LedgerView) -> None:
        raise AlreadyRegistered("no")

    with pytest.raises(AlreadyRegistered):
        ledger.append(root, Viewed, **(said(ledger.read(root).leaves[0]) | {"prepare": refuse}))
    assert (root.ledger.read_bytes(), root.checkpoint.read_bytes()) == before


@pytest.mark.parametrize(
    "change",
    [{"look": "glance"}, {"files": {"verdict.json": "x"}}, {"document": None}, {"attempt": 1}, {"exploratory": ...}],
    ids=lambda change: next(iter(change)),
)
def test_an_event_that_is_not_complete_is_not_written(root: StudyRoot, change: dict[str, object]) -> None:
    before = root.ledger.read_bytes(), root.checkpoint.read_bytes()
    fields = said(ledger.read(root).leaves[0]) | change

    def never(view: ledger.LedgerView) -> None:
        raise AssertionError("prepared what could not be written")

    with pytest.raises(ValidationError):
        ledger.append(root, Viewed, prepare=never, **{name: one for name, one in fields.items() if one is not ...})
    assert (root.ledger.read_bytes(), root.checkpoint.read_bytes()) == before


def test_text_that_could_not_be_read_again_is_not_written(root: StudyRoot) -> None:
    fields = said(ledger.read(root).leaves[0])
    with pytest.raises(BadDocument, match="normal form C"):
        ledger.append(root, Viewed, **{**fields, "files": {"e\u0301.json": sha256(b"")}})
    assert len(ledger.read(root).leaves) == 5


def test_a_signed_checkpoint_is_read_and_the_next_one_is_not_signed(root: StudyRoot) -> None:
    signed = Note(ledger.read(root).checkpoint(), signatures=("— witness.example Ck1rhwWNOg==",))
    root.checkpoint.write_bytes(signed.to_bytes())
    assert ledger.read(root).checkpoint() == signed.checkpoint
    look(root)
    assert Note.parse(root.checkpoint.read_bytes(), root.checkpoint) == Note(ledger.read(root).checkpoint())


def test_leaves_of_one_study_and_kind(root: StudyRoot) -> None:
    ledger.append(root, Viewed, **{**said(ledger.read(root).leaves[0]), "study": "other"})
    view = ledger.read(root)
    assert [leaf.seq for leaf in view.of("demo")] == [0, 1, 2, 3, 4]
    assert [leaf.seq for leaf in view.of("other", Viewed)] == [5]
    assert view.of("other", ledger.DocumentLeaf) == ()


def test_a_rewritten_ledger_contains_no_earlier_checkpoint(root: StudyRoot) -> None:
    kept = ledger.read(root).checkpoint(3)
    assert ledger.read(root).contains(kept)
    root.ledger.unlink()
    root.checkpoint.unlink()
    for number in range(9):
        look(root, number + 1)
    assert not ledger.read(root).contains(kept)
    assert not ledger.read(root).contains(Checkpoint(99, sha256(b"")))


def _append_many(folder: Path) -> None:
    for _ in range(10):
        look(StudyRoot(folder))


def test_processes_take_turns(tmp_path: Path) -> None:
    (tmp_path / "prereg").mkdir()
    workers = [multiprocessing.get_context("spawn").Process(target=_append_many, args=(tmp_path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(ledger.read(StudyRoot(tmp_path)).leaves) == 40
