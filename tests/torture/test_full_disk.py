"""A disk that gets full at any point: exit code 4, what was written is whole, and the next run continues."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.small import study
from tests.sweep.test_bad_input import Mount, needs_root
from tests.torture.process import Journal, Run, as_undisturbed, attempt, copy, whole
from vjepa_stress.records import failures
from vjepa_stress.study_root import StudyRoot


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Mount]:
    """A small file system; the test is skipped where none can be mounted."""
    try:
        mount = Mount(folder, size)
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not let even root mount a tmpfs")
    try:
        yield mount
    finally:
        mount.end()


@needs_root
@pytest.mark.slow
def test_ten_full_disks(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    full = 0
    used = sum(path.stat().st_blocks // 2 for path in [untouched.path, *untouched.path.rglob("*")])  # in kilobytes
    for number in range(60):
        if full >= 10:
            break
        more = ("exec.workers=2",) if number % 3 == 2 else ()
        with disk(tmp_path / f"disk{number}", "100m") as mount:
            root = copy(untouched, mount.folder / "root")
            logs = mount.folder / "root.log"
            logs.symlink_to(tmp_path)  # what the run prints goes elsewhere
            mount.remount(f"size={used + 8 + 20 * number}k")
            journal = Journal(root)
            done = Run(root, *more).wait(journal.look)
            if done.code == 0:
                continue
            full += 1
            assert done.code == 4, done.err
            assert "the disk is full or failed" in done.err
            assert "Traceback" not in done.err
            whole(root)
            assert not [path for path in attempt(root).glob("cells/*") if path.name[0] == "."]
            assert failures(attempt(root)) == []
            mount.remount("size=100m")
            done = Run(root, *more).wait(journal.look)
            assert done.code == 0, done.err
            assert study.contents(root) == study.contents(lean)
            assert journal.twice == 0
            as_undisturbed(root, lean)
    print(f"{full} full disks")
    assert full >= 10
