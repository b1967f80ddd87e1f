"""Cells of a finished study, computed again."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.small import study
from vjepa_stress.errors import ResultTampered
from vjepa_stress.records import Row, read_cell
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.rerun import compare


def test_every_cell_comes_out_the_same_to_the_last_bit(lean: StudyRoot) -> None:
    before = study.contents(lean), sorted(lean.path.rglob("*"))
    done = study.command("rerun", "small", "--root", lean.path, "--cells", "99", "--json")
    assert done.code == 0, done.err
    assert (done.json["same"], done.json["close"]) == (study.CELLS, 0)
    assert (study.contents(lean), sorted(lean.path.rglob("*"))) == before, "nothing is written"
    assert done.err.count("the same to the last bit") == study.CELLS


def test_a_seed_chooses_the_same_cells(lean: StudyRoot) -> None:
    def chosen(seed: str) -> list[str]:
        done = study.command("rerun", "small", "--root", lean.path, "--cells", "2", "--seed", seed, "--json")
        assert done.json["seed"] == int(seed)
        return list(done.json["cells"])

    assert chosen("5") == chosen("5")
    assert len({tuple(chosen(str(seed))) for seed in range(4)}) > 1


def rows(cell: Path) -> list[Row]:
    return [dict(row) for row in read_cell(cell).table.to_pylist()]


def test_what_another_processor_may_change_and_what_not(finished: StudyRoot) -> None:
    cell = next(path for path in study.cells(finished).iterdir() if "gaussian" in path.name)
    stored = read_cell(cell)
    assert compare(stored, rows(cell)).same
    rounded = rows(cell)
    rounded[0]["M2"] = float(str(rounded[0]["M2"])) + 3e-6
    found = compare(stored, rounded)
    assert not found.same
    assert found.largest == pytest.approx(3e-6, rel=1e-3)
    others: list[tuple[str, object]] = [("M2", float(str(rounded[0]["M2"])) + 1e-3), ("M2", None)]
    others += [(name, int(str(value)) + 1) for name, value in rounded[0].items() if type(value) is int]
    others += [(name, not value) for name, value in rounded[0].items() if type(value) is bool]
    assert {type(value) for _, value in others} >= {float, int, bool, type(None)}
    for name, value in others:
        other = rows(cell)
        other[0][name] = value  # type: ignore[assignment]
        with pytest.raises(ResultTampered, match="has other values"):
            compare(stored, other)


def test_tracking_curves_are_compared_number_by_number(finished: StudyRoot) -> None:
    cell = next(path for path in study.cells(finished).iterdir() if "gaussian" in path.name)
    stored, again = read_cell(cell), rows(cell)
    before = replace(stored, table=pa.Table.from_pylist([{**row, "M3_J": [0.9, 0.5]} for row in again]))

    def after(curve: list[float]) -> list[Row]:
        return [{**row, "M3_J": curve} for row in again]

    assert compare(before, after([0.9, 0.5 + 3e-6])).largest == pytest.approx(3e-6, rel=1e-3)
    for curve in ([0.9, 0.6], [0.9]):
        with pytest.raises(ResultTampered):
            compare(before, after(curve))


def test_without_a_complete_attempt_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    root = study.new_root(tmp_path / "root")
    assert study.register(root).code == 0
    done = study.command("rerun", "small", "--root", root.path)
    assert done.code == 11
    assert "no results to compare with" in done.err


def test_a_changed_shard_is_found_before_anything_is_computed(attacked: StudyRoot) -> None:
    shard = next(study.cells(attacked).rglob("shard.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    done = study.command("rerun", "small", "--root", attacked.path)
    assert done.code == 3
    assert "Traceback" not in done.err
