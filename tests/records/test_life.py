"""Signs of life: which process works, and which one is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vjepa_stress.digest import canonical_json
from vjepa_stress.records import life as module
from vjepa_stress.records.life import Sign, forget, lives, sign_of_life

TIME = "2026-01-01T00:00:00Z"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which waits until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def write(folder: Path, number: int, created: float, host: str | None = None, age: float = 0.0) -> Path:
    sign = Sign(host=host or module._host(), process=number, created=created, started=TIME)
    path = folder / "job.json"
    path.write_bytes(canonical_json(sign.model_dump(mode="json", by_alias=True)))
    os.utime(path, (time.time() - age,) * 2)
    return path


def alive(folder: Path) -> bool:
    (life,) = lives(folder)
    return life.alive


def test_a_process_of_this_machine_is_looked_up(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    created = psutil.Process(process.pid).create_time()
    write(tmp_path, process.pid, created, age=1e6)
    assert alive(tmp_path)  # however old the file is
    write(tmp_path, process.pid, created - 100)
    assert not alive(tmp_path)  # its number was that of an earlier process
    write(tmp_path, process.pid, created)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not alive(tmp_path)  # killed, and not waited for
    process.wait()
    assert not psutil.pid_exists(process.pid)
    assert not alive(tmp_path)


@pytest.mark.parametrize(("age", "expected"), [(0, True), (60, True), (300, False), (1e6, False)])
def test_a_process_of_another_machine_lives_while_its_file_is_touched(
    tmp_path: Path, age: float, expected: bool
) -> None:
    write(tmp_path, os.getpid(), psutil.Process().create_time() - 1e5, host="elsewhere", age=age)
    assert alive(tmp_path) == expected


def test_the_file_is_there_while_the_block_runs(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "job.json"
    with sign_of_life(path):
        (life,) = lives(path.parent)
        assert life.alive
        assert (life.path, life.sign.process) == (path, os.getpid())
        assert str(life).startswith(f"process {os.getpid()} on ")
    assert not path.exists()

    def fail() -> None:
        with sign_of_life(path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not path.exists()


def test_the_file_is_touched_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEAT", 0.01)
    path, touched = tmp_path / "job.json", 0
    with sign_of_life(path):
        for _ in range(2):
            os.utime(path, (0, 0))
            while path.stat().st_mtime == 0:
                time.sleep(0.001)
            touched += 1
    assert touched == 2


def test_other_files_are_no_signs(tmp_path: Path) -> None:
    for name, data in {"a.json": b"", "b.json": b"{}", "c.json": b'{"host": "x"', "d.txt": b"x"}.items():
        (tmp_path / name).write_bytes(data)
    assert lives(tmp_path) == []
    assert lives(tmp_path / "nothing") == []


def test_only_stopped_processes_are_forgotten(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    path = write(tmp_path, process.pid, psutil.Process(process.pid).create_time())
    forget(tmp_path, {process.pid})
    assert path.exists()  # it still works
    process.kill()
    process.wait()
    forget(tmp_path, {process.pid + 1})
    assert path.exists()  # nobody stopped it on purpose
    forget(tmp_path, {process.pid})
    assert not path.exists()
    path = write(tmp_path, process.pid, 0.0, host="elsewhere")
    forget(tmp_path, {process.pid})
    assert path.exists()
