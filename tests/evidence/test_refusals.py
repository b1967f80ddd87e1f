"""Refusals of the real commands on busy cores: the process ends with its exit code, never with a signal.

Each of them has read shards before it refuses: Arrow's worker threads could end such a process in SIGABRT.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evidence.attack import append_again, cell, keep_leaves, rewrite, without_results
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.digest import sha256
from vjepa_stress.study_root import StudyRoot

TIMES = 40
"""Of each of the five refusals: 200 in all."""


@pytest.fixture
def busy() -> Iterator[None]:
    """Two processes that do nothing but compute, and end with this one."""
    loop = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2)]
    yield
    for process in loops:
        process.kill()
        process.wait()


def edited(finished: StudyRoot, folder: Path) -> StudyRoot:
    """The last cell's manifest was edited."""
    root = study.copied(finished, folder)
    last = max(study.cells(root).iterdir())
    rewrite(last / "manifest.json", {"finished": "2099-01-01T00:00:00Z"})
    return root


def incomplete(finished: StudyRoot, folder: Path) -> StudyRoot:
    """A cell is missing."""
    root = study.copied(finished, folder)
    shutil.rmtree(cell(root, "*tiny-gaussian_noise-0.2*"))
    return root


def by_other_code(finished: StudyRoot, folder: Path) -> StudyRoot:
    """A cell is missing, and the attempt was gone on with by other code."""
    root = incomplete(finished, folder)
    keep_leaves(root, 2)
    without_results(root)
    append_again(root, ledger.read(root).leaves[1], code=sha256(b"other code"))
    return root


@pytest.mark.slow
def test_two_hundred_refusals_on_busy_cores(finished: StudyRoot, tmp_path: Path, busy: None) -> None:
    tampered, gone = edited(finished, tmp_path / "tampered"), incomplete(finished, tmp_path / "gone")
    other = by_other_code(finished, tmp_path / "other")
    run = ("run", "small", "--config-dir", study.CONF)
    refusals: list[tuple[int, str, StudyRoot, tuple[str | Path, ...]]] = [
        (2, "not in the registered design", finished, (*run, "strength=0.55")),
        (3, "not those of the completed attempt", tampered, run),
        (3, "not those of the completed attempt", tampered, ("rerun", "small")),
        (11, "started with other code", other, run),
        (11, "CellsIncomplete", gone, ("verdict", "small")),
    ]
    for number in range(TIMES):
        for code, text, root, words in refusals:
            done = study.shell(*words, "--root", root.path)
            assert (done.code, text in done.err) == (code, True), f"{number}, {words}: {done.code}\n{done.err}"
