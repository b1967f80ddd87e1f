"""Files of the journal: whole or not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vjepa_stress.digest import sha256
from vjepa_stress.records.journal import group_folder, journal_files, read_header, read_row, write_rows
from vjepa_stress.records.manifest import CheckpointRecord, Worker

UNIT = sha256(b"a clip")
TIME = "2026-01-01T00:00:00Z"
FACTS = {"document": sha256(b"document"), "code": sha256(b"code")}


def header(cells: tuple[str, ...], launch: int = 3, unit: str = UNIT) -> dict[str, Any]:
    return {
        "launch": CheckpointRecord(size=launch, root=sha256(b"root")),
        "facts": sha256(b"facts"),
        "unit": unit,
        "cells": cells,
        "worker": Worker(host="here", device="cpu", threads=1, batch=1, packages={"torch": "2"}),
        "started": TIME,
        "finished": TIME,
    }


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False)
)
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "Z", "P", "Cc"]), max_size=8)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(NAMES.map(lambda name: f"k{name}"), VALUES | NAMES, max_size=4), max_size=4))
def test_what_was_written_is_read(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    names = tuple(f"cell{k}" for k in range(len(rows)))
    path = write_rows(tmp_path, header(names), "job", [(row, {"encode": 0.5 + k}) for k, row in enumerate(rows)])
    (file,) = journal_files(tmp_path)
    assert (file.path, file.header.cells) == (path, names)
    assert file.header.worker.packages == {"torch": "2"}
    lines = file.lines()
    assert lines is not None
    assert [read_row(line) for line in lines] == [(row, {"encode": 0.5 + k}) for k, row in enumerate(rows)]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write_rows(tmp_path, header(("one", "two")), "job", [({"M1": 0.25}, {"encode": 1.0}), ({"M1": None}, {})])


def usable(path: Path) -> bool:
    """Whether a reader takes the rows of a file."""
    return any(file.lines() is not None for file in journal_files(path.parent))


def test_no_damaged_file_is_used(written: Path) -> None:
    data = written.read_bytes()
    assert usable(written)
    for position in range(len(data)):
        written.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert not usable(written), data[max(0, position - 20) : position + 20]
    for length in range(len(data)):
        written.write_bytes(data[:length])
        assert not usable(written), length
    for longer in (data + b"\n", data + data.splitlines()[-1] + b"\n", b"\n" + data):
        written.write_bytes(longer)
        assert not usable(written)
    written.write_bytes(data)
    assert usable(written)


def test_a_file_is_found_by_its_unit_and_named_after_launch_and_job(tmp_path: Path) -> None:
    other = sha256(b"another clip")
    for unit in (UNIT, other):
        for launch in (3, 12):
            for job in ("a", "b"):
                write_rows(tmp_path, header(("one",), launch, unit), job, [({"clip": unit}, {})])
    names = [file.path.name for file in journal_files(tmp_path, UNIT)]
    assert sorted(names) == sorted(f"{UNIT.short}-{line}-{job}.jsonl" for line in (2, 11) for job in ("a", "b"))
    assert {file.header.unit for file in journal_files(tmp_path, UNIT)} == {UNIT}
    assert len(list(journal_files(tmp_path))) == 8


def test_an_unfinished_file_is_not_seen(written: Path) -> None:
    written.rename(written.with_name(f".{written.name}.1.tmp"))
    assert list(journal_files(written.parent)) == []
    assert read_header(written) is None


def test_other_facts_are_another_folder(tmp_path: Path) -> None:
    folder, digest = group_folder(tmp_path, "tiny", "few", FACTS)
    assert folder.parent == tmp_path / "journal"
    assert folder.name.startswith("tiny-few-")
    assert group_folder(tmp_path, "tiny", "few", dict(reversed(FACTS.items()))) == (folder, digest)
    for key in FACTS:
        changed, other = group_folder(tmp_path, "tiny", "few", FACTS | {key: sha256(b"other")})
        assert changed != folder
        assert other != digest
    assert json.dumps(digest)
