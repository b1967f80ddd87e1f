"""Durable writes: whole files or none, synced, and an operating system's refusal as an error with a fix."""

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
    errno.ENOENT,  # no folder can be made there, as in /proc
    errno.ENAMETOOLONG,
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write `path` into a `CannotWrite` or a `MachineFailure`."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise MachineFailure(
                "the disk took no more data; what was complete is kept",
                where=path,
                found=error.strerror,
                fix="make room, then run the same command again: it goes on where it was",
            ) from error
        if error.errno in _REFUSED:
            raise CannotWrite(
                "this folder cannot be written",
                where=path,
                found=error.strerror,
                fix="choose another folder, or change its permissions",
            ) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole or not at all, and on the disk when this returns.

    Raises:
        CannotWrite, MachineFailure: when the folder does not take it; nothing is left behind.
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
