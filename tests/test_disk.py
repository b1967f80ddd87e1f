"""Durable writes: all of a file or nothing, and the operating system's refusals as errors of this package."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vjepa_stress.disk import sync_folder, write_durably, writing
from vjepa_stress.errors import CannotWrite, MachineFailure, StressError


def test_a_file_is_made_with_its_folders_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    for data in (b"first", b"", b"second, and longer"):
        write_durably(path, data)
        assert path.read_bytes() == data
        assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), MachineFailure),
        (OSError(errno.EROFS, "Read-only file system"), CannotWrite),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk full", "read-only", "interrupted"],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, expected: type[BaseException]
) -> None:
    path = tmp_path / "file.json"
    write_durably(path, b"old")

    def fail(handle: int) -> None:
        raise fault

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(expected):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, MachineFailure),
        (errno.EDQUOT, MachineFailure),
        (errno.EIO, MachineFailure),
        (errno.EROFS, CannotWrite),
        (errno.EACCES, CannotWrite),
        (errno.EPERM, CannotWrite),
        (errno.ENOTDIR, CannotWrite),
        (errno.EEXIST, CannotWrite),
        (errno.EISDIR, CannotWrite),
        (errno.ENOENT, CannotWrite),
        (errno.ENAMETOOLONG, CannotWrite),
    ],
)
def test_a_refusal_names_the_path_and_the_reason(tmp_path: Path, number: int, expected: type[StressError]) -> None:
    with pytest.raises(expected) as error, writing(tmp_path):
        raise OSError(number, os.strerror(number))
    assert error.value.where == tmp_path
    assert error.value.found == os.strerror(number)
    assert error.value.fix
    assert isinstance(error.value.__cause__, OSError)


@pytest.mark.parametrize("other", [OSError(errno.EINTR, "Interrupted"), OSError("no number"), ValueError("a defect")])
def test_other_exceptions_pass_unchanged(tmp_path: Path, other: Exception) -> None:
    with pytest.raises(type(other)) as error, writing(tmp_path):
        raise other
    assert error.value is other


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite):
        write_durably(tmp_path / "file" / "below.json", b"")


def test_only_a_folder_that_exists_can_be_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "nothing")
