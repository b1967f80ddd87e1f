"""The ledger against RFC 6962's own definition, against cuts at every byte, and against every single bit flip."""

import hashlib
import multiprocessing
import random
from pathlib import Path

import pytest

from vjepa_stress.digest import sha256
from vjepa_stress.errors import AlreadyRegistered, LedgerTampered
from vjepa_stress.ledger import log as ledger
from vjepa_stress.ledger.log import Checkpoint
from vjepa_stress.study_root import StudyRoot


def reference_root(leaves: list[bytes]) -> bytes:
    """Merkle tree hash, written from RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + reference_root(leaves[:k]) + reference_root(leaves[k:])).digest()


@pytest.fixture
def root(tmp_path: Path) -> StudyRoot:
    (tmp_path / "prereg").mkdir()
    root = StudyRoot(tmp_path)
    for number in range(5):
        ledger.append(root, "viewed", "demo", details={"number": number})
    return root


def test_root_is_that_of_rfc_6962(root: StudyRoot) -> None:
    lines = root.ledger.read_bytes().splitlines()
    view = ledger.read(root)
    for size in range(6):
        assert view.checkpoint(size).root.hex == reference_root(lines[:size]).hex()
    assert root.checkpoint.read_text() == f"5 {view.checkpoint().root}\n"


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
    ledger.append(root, "viewed", "demo", details={"number": 5})
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
        ledger.append(root, "viewed", "demo", details={"after": True})
        after = ledger.read(root)
        assert len(after.leaves) == leaves + 1
        assert not after.notices
        assert after.contains(view.checkpoint())


def test_a_kill_during_the_very_first_append(tmp_path: Path) -> None:
    (tmp_path / "prereg").mkdir()
    root = StudyRoot(tmp_path)
    root.ledger.write_bytes(b'{"at":"2026')
    assert ledger.read(root).leaves == ()
    ledger.append(root, "viewed", "demo")
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
    data = root.ledger.read_bytes().replace(b'"number":3', b'"number":4')
    root.ledger.write_bytes(data)
    with pytest.raises(LedgerTampered):
        ledger.append(root, "viewed", "demo")
    assert root.ledger.read_bytes() == data


def test_a_refused_append_writes_nothing(root: StudyRoot) -> None:
    before = root.ledger.read_bytes(), root.checkpoint.read_bytes()

    def refuse(view: ledger.LedgerView) -> None:
        raise AlreadyRegistered("no")

    with pytest.raises(AlreadyRegistered):
        ledger.append(root, "viewed", "demo", prepare=refuse)
    assert (root.ledger.read_bytes(), root.checkpoint.read_bytes()) == before


def test_a_rewritten_ledger_contains_no_earlier_checkpoint(root: StudyRoot) -> None:
    kept = ledger.read(root).checkpoint(3)
    assert ledger.read(root).contains(kept)
    root.ledger.unlink()
    root.checkpoint.unlink()
    for number in range(9):
        ledger.append(root, "viewed", "demo", details={"number": number + 1})
    assert not ledger.read(root).contains(kept)
    assert not ledger.read(root).contains(Checkpoint(99, sha256(b"")))


def _append_many(folder: Path) -> None:
    for _ in range(10):
        ledger.append(StudyRoot(folder), "viewed", "demo")


def test_processes_take_turns(tmp_path: Path) -> None:
    (tmp_path / "prereg").mkdir()
    workers = [multiprocessing.get_context("spawn").Process(target=_append_many, args=(tmp_path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(ledger.read(StudyRoot(tmp_path)).leaves) == 40
