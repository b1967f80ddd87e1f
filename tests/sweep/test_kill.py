"""`kill -9` at random moments: what is left is whole, and a rerun ends with the numbers of an undisturbed run."""

import contextlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.records import read_cell
from vjepa_stress.study_root import StudyRoot


def _run_and_kill(root: StudyRoot, after: float) -> bool:
    """Start the real command and kill it; whether it was killed before its end."""
    words = ("run", "--root", root.path, "small", "--config-dir", study.CONF, "exec.threads=1")
    process = study.start(*words)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=after)
        return False
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def _first_clip_takes(root: StudyRoot) -> float:
    """Seconds from the start of the command until its first clip is in the journal; then it is killed."""
    words = ("run", "--root", root.path, "small", "--config-dir", study.CONF, "exec.threads=1")
    started, process = time.monotonic(), study.start(*words)
    while not any(study.cells(root).parent.glob("journal/*/*.jsonl")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return time.monotonic() - started


def _kill_many_times(lean: StudyRoot, folder: Path, kills: int, seed: int) -> int:
    root, chance, killed = study.new_root(folder, study.calibration("few")), random.Random(seed), 1
    assert study.register(root).code == 0
    first = _first_clip_takes(root)
    for _ in range(kills * 3):
        if killed >= kills or len(list(study.cells(root).glob("few-*"))) == study.CELLS:
            break
        # From before the launch is logged to a few clips beyond the first.
        killed += _run_and_kill(root, chance.uniform(0.6 * first, 1.05 * first))
        ledger.read(root)
        for path in study.cells(root).glob("few-*"):
            read_cell(path)
    done = study.run(root)
    assert done.code == 0, done.err
    assert done.json["complete"]
    assert study.contents(root) == study.contents(lean)
    assert not [path for path in study.cells(root).iterdir() if path.name.startswith(".")]
    assert study.command("verdict", "--root", root.path, "small").code == 0
    assert study.command("audit", "--root", root.path, "small").code == 0
    return killed


def test_three_kills(lean: StudyRoot, tmp_path: Path) -> None:
    assert _kill_many_times(lean, tmp_path / "root", kills=3, seed=1) >= 2


@pytest.mark.slow
def test_twenty_kills(lean: StudyRoot, tmp_path: Path) -> None:
    killed = number = 0
    while killed < 20:
        number += 1
        killed += _kill_many_times(lean, tmp_path / f"root{number}", kills=5, seed=100 + number)
