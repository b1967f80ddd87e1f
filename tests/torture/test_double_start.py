"""Two runs that start at the same instant: no row is computed twice, and the study ends as if one had run."""

import time
from pathlib import Path

import pytest

from tests.torture.process import Journal, Run, as_undisturbed, copy
from vjepa_stress import ledger
from vjepa_stress.study_root import StudyRoot


def start_twice(untouched: StudyRoot, lean: StudyRoot, folder: Path, apart: float, *more: str) -> str:
    """Start two runs; what the second one was told."""
    root = copy(untouched, folder)
    journal = Journal(root)
    runs = []
    for _ in range(2):
        runs.append(Run(root, *more))
        time.sleep(apart)
    while not all(run.ended for run in runs):
        journal.look()
    first, second = sorted((run.wait() for run in runs), key=lambda done: done.code)
    assert (first.code, second.code) in {(0, 2), (0, 0)}, second.err
    if second.code == 2:
        assert "another run computes the 16 missing cells" in second.err
        pids = [run.pid for run in runs]
        assert any(f"found: process {pid} on " in second.err for pid in pids)
    else:
        assert "nothing to do" in second.err or "nothing to do" in first.err
    assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered", "launched", "completed"]
    assert journal.twice == 0
    as_undisturbed(root, lean)
    return second.err


def test_one_double_start(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    start_twice(untouched, lean, tmp_path / "root", 0)


@pytest.mark.slow
def test_five_double_starts(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    for number, apart in enumerate((0, 0, 0.05, 0.2, 0.5)):
        start_twice(untouched, lean, tmp_path / f"root{number}", apart, *(("exec.workers=2",) * (number % 2)))


def test_disjoint_runs_side_by_side(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    root = copy(untouched, tmp_path / "root")
    journal = Journal(root)
    runs = [Run(root, f"model={model}") for model in ("tiny", "tiny_wide")]
    while not all(run.ended for run in runs):
        journal.look()
    for run in runs:
        done = run.wait()
        assert done.code == 0, done.err
        assert done.json["computed"] == 8
    events = [leaf.event for leaf in ledger.read(root).leaves]
    assert events == ["registered", "launched", "launched", "completed"]
    assert journal.twice == 0
    as_undisturbed(root, lean)
