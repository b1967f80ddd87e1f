"""Signs of life of launches and jobs, so that several runs in one folder know of each other.

A process keeps a small file while it works and touches it every few seconds. On the same machine, the process is
looked up; on another machine that shares the folder, the age of the file decides.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from pydantic import Field, ValidationError

from vjepa_stress.digest import canonical_json
from vjepa_stress.disk import write_durably
from vjepa_stress.fields import Frozen, Text, Time, now

_BEAT = 5.0
"""Seconds between two touches."""

_LOST = 120.0
"""Seconds without a touch after which a process on another machine counts as dead."""


class Sign(Frozen):
    """Who works."""

    schema_: Literal["vjepa-stress/sign/v1"] = Field(alias="schema", default="vjepa-stress/sign/v1")
    host: Text
    process: int
    created: float = Field(description="start of the process, in seconds since 1970: process numbers are used again")
    started: Time


@dataclass(frozen=True)
class Life:
    """A file with a sign of life.

    Attributes:
        path: the file; its stem names the job.
        sign: who works.
        age: seconds since it was last touched.
    """

    path: Path
    sign: Sign
    age: float

    @property
    def alive(self) -> bool:
        """Whether the process still works."""
        if self.sign.host != _host():
            return self.age < _LOST
        try:
            process = psutil.Process(self.sign.process)
            same = abs(process.create_time() - self.sign.created) < 1
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        return f"process {self.sign.process} on {self.sign.host}, started at {self.sign.started}"


def _host() -> str:
    return platform.node() or "unknown"


@contextmanager
def sign_of_life(path: Path) -> Iterator[None]:
    """Keep the file of this process while the block runs, and touch it in another thread.

    The file is removed when the block ends, also by an error. A killed process leaves it.
    """
    process = psutil.Process()
    sign = Sign(host=_host(), process=process.pid, created=process.create_time(), started=now())
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True, name="sign of life")
    try:  # from here on, as a signal may interrupt any line
        write_durably(path, canonical_json(sign.model_dump(mode="json", by_alias=True)))
        thread.start()
        yield
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()
        path.unlink(missing_ok=True)


def lives(folder: Path) -> list[Life]:
    """Signs of life in a folder, sorted by name; unreadable files are left out."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValidationError):
            sign = Sign.model_validate_json(path.read_bytes())
            found.append(Life(path, sign, max(0.0, time.time() - path.stat().st_mtime)))
    return found


def forget(folder: Path, processes: Collection[int]) -> None:
    """Remove the signs of processes of this machine that were stopped on purpose."""
    for life in lives(folder):
        if life.sign.host == _host() and life.sign.process in processes and not life.alive:
            life.path.unlink(missing_ok=True)


def forget_all(folder: Path) -> None:
    """Remove the signs of processes that have ended for certain, on whatever machine."""
    for life in lives(folder):
        life.path.unlink(missing_ok=True)
