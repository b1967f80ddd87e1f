"""Durable, atomic writes. Errors of the operating system become errors with a fix."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vjepa_stress.errors import CannotWrite, MachineFailure

_REFUSED = {
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,  # no folder can be created, as in /proc
    errno.ENAMETOOLONG,
}


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


@contextmanager
def filling(path: Path) -> Iterator[None]:
    """Convert an `OSError` that says that the disk of `path` is full or failed to a `MachineFailure`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise MachineFailure(
            "the disk is full or failed; complete files are kept",
            where=path,
            found=error.strerror,
            fix="free disk space, then run the same command again: it resumes",
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert an `OSError` from writing `path` to a `CannotWrite` or a `MachineFailure`."""
    try:
        with filling(path):
            yield
    except OSError as error:
        if error.errno in _REFUSED:
            raise CannotWrite(
                "this folder cannot be written",
                where=path,
                found=error.strerror,
                fix="choose another folder, or change its permissions",
            ) from error
        raise


def sync_folder(folder: Path) -> None:
    """Sync `folder`, so that a rename or a new file in it survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. The data are on the disk when this returns.

    Raises:
        CannotWrite, MachineFailure: when the file cannot be written; no partial file remains.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
