"""What `status` says of runs at work, of killed ones, and of cells that only some clips have."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

from tests.small import study
from tests.sweep.launched import EXEC, launched
from tests.torture.process import Journal, Moment, Run, wait_for
from vjepa_stress.evidence.status import status_of
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.worker import work


def numbers(status: dict[str, Any]) -> tuple[int, int, int]:
    return status["done"], status["missing"], status["failed"]


def test_a_run_at_work_and_after_it_was_killed(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    before = status_of(root, "small")
    assert numbers(before) == (0, study.CELLS, 0)
    assert (before["jobs"], before["clips"], before["seconds_left"], before["completed"]) == ([], None, None, False)
    moment, run = Moment(root, "one clip"), Run(root)
    assert wait_for(run, moment, Journal(root), random.Random(1))
    run.signal(signal.SIGSTOP)  # it lives, and stays where it is
    status = status_of(root, "small")
    assert numbers(status) == (8 * (status["clips"] >= 3), study.CELLS - 8 * (status["clips"] >= 3), 0)
    assert 1 <= status["clips"] < status["clips_of_run"] == 6
    assert status["seconds_left"] is not None
    assert {job["process"] for job in status["jobs"]} == {run.pid}
    assert {job["state"] for job in status["jobs"]} == {"running"}
    assert "launcher" in [job["job"] for job in status["jobs"]]
    shown = study.command("status", "small", "--root", root.path)
    assert f"running: {status['clips']} of 6 clips" in shown.out
    run.signal(signal.SIGKILL)
    run.wait()
    killed = status_of(root, "small")
    assert {job["state"] for job in killed["jobs"]} == {"lost"}
    assert {job["process"] for job in killed["jobs"]} == {run.pid}
    assert (killed["clips"], killed["seconds_left"]) == (None, None)
    assert numbers(killed) == numbers(status)
    done = study.run(root)
    assert done.code == 0, done.err
    after = status_of(root, "small")
    assert numbers(after) == (study.CELLS, 0, 0)
    assert after["completed"]
    assert after["jobs"] == []
    assert study.contents(root) == study.contents(lean)


def test_clips_of_some_cells_do_not_make_the_others_done(tmp_path: Path) -> None:
    """The journal keeps the files of selected cells; the next launch has more cells of the same clips."""
    root = study.registered(tmp_path / "root")
    one = study.run(root, "model=tiny", "perturbation=reverse")
    assert one.code == 0, one.err
    assert numbers(status_of(root, "small")) == (1, 15, 0)
    rest = launched(root)
    assert numbers(status_of(root, "small")) == (1, 15, 0)
    work(rest, rest.units()[:2], EXEC)
    assert numbers(status_of(root, "small")) == (1, 15, 0)
    work(rest, rest.units()[:3], EXEC)
    assert numbers(status_of(root, "small")) == (8, 8, 0)  # in the journal, and not assembled yet
