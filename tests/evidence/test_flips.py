"""Flipped bits: one in every byte of a registration, a ledger, a cell."""

import os
import random
from pathlib import Path

import pytest

from tests.evidence.attack import flipped, refused, three
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.digest import sha256
from vjepa_stress.errors import Tampered
from vjepa_stress.prereg import freeze
from vjepa_stress.records import manifests_root, read_cell
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.demo import prepare


@pytest.fixture
def demo(tmp_path: Path) -> StudyRoot:
    """The shipped demo, registered and not run."""
    return prepare(tmp_path / "demo")


def test_a_bit_flipped_in_every_byte_of_the_demo_preregistration(demo: StudyRoot) -> None:
    path, view, chance = demo.document("demo", "v1"), ledger.read(demo), random.Random(1)
    data = path.read_bytes()
    # In place: writing the whole file for each of its bytes takes ten times as long.
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(data):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << chance.randrange(8)]), position)
            with pytest.raises(Tampered, match="differs from the registered one"):
                freeze.load(demo, "demo", view)
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert freeze.load(demo, "demo").root_digest == sha256(data)


@pytest.mark.slow
def test_a_hundred_flips_of_it_through_the_commands(demo: StudyRoot) -> None:
    path, chance = demo.document("demo", "v1"), random.Random(2)
    data = path.read_bytes()
    for _ in range(100):
        path.write_bytes(flipped(data, chance.randrange(len(data)), chance))
        refused(demo, name="demo")
    path.write_bytes(data)


@pytest.mark.slow
def test_a_hundred_flips_of_it_through_processes(demo: StudyRoot) -> None:
    path, chance = demo.document("demo", "v1"), random.Random(3)
    data = path.read_bytes()
    for _ in range(100):
        path.write_bytes(flipped(data, chance.randrange(len(data)), chance))
        for words in (("run", "demo"), ("verdict", "demo"), ("audit", "demo")):
            done = study.shell(*words, "--root", demo.path)
            assert done.code in (3, 2), done.err
            assert "Traceback" not in done.err


def test_one_flip_through_processes(demo: StudyRoot) -> None:
    path = demo.document("demo", "v1")
    path.write_bytes(path.read_bytes().replace(b'"confirm_at":0.9', b'"confirm_at":0.8', 1))
    for words in (("run", "demo"), ("verdict", "demo"), ("audit", "demo")):
        done = study.shell(*words, "--root", demo.path)
        assert (done.code, "Traceback" in done.err) == (3, False), done.err


def test_a_bit_flipped_in_every_byte_of_the_ledger(attacked: StudyRoot) -> None:
    chance = random.Random(4)
    for path in (attacked.ledger, attacked.checkpoint):
        data = path.read_bytes()
        for position in range(len(data)):
            path.write_bytes(flipped(data, position, chance))
            with pytest.raises(Tampered):
                ledger.read(attacked)
        for position in chance.sample(range(len(data)), 10):
            path.write_bytes(flipped(data, position, chance))
            refused(attacked)
        path.write_bytes(data)
    assert all(done.code == 0 for done in three(attacked))


@pytest.mark.parametrize("file", ["manifest.json", "shard.parquet"])
def test_a_bit_flipped_in_every_byte_of_a_cell(lean: StudyRoot, tmp_path: Path, file: str) -> None:
    attacked = study.copied(lean, tmp_path / "attacked")
    folders = sorted(study.cells(attacked).iterdir())
    others = [read_cell(folder) for folder in folders]
    promised, chance = manifests_root(others), random.Random(5)
    path = folders[3] / file
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(flipped(data, position, chance))
        try:
            others[3] = read_cell(folders[3])
        except Tampered:
            continue
        # A manifest may still be one after a flip; the root over all manifests no longer is.
        assert manifests_root(others) != promised
    for position in chance.sample(range(len(data)), 20):
        path.write_bytes(flipped(data, position, chance))
        refused(attacked)
    path.write_bytes(data)
    assert all(done.code == 0 for done in three(attacked))
