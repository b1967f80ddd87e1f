"""The real command in processes of its own, stopped at chosen moments.

A server imports torch once and forks a process for each command: a hundred starts take minutes, not an hour.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.cli import main
from vjepa_stress.records import failures, read_cell
from vjepa_stress.records.journal import read_header
from vjepa_stress.study_root import StudyRoot

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "tests.torture.process",
        "vjepa_stress.sweep.app",
        "vjepa_stress.encoders.seeded",
        "torch._dynamo",
        "av",
        "pandas",
    ]
)

ROWS = study.CELLS * 3
"""Rows of the study: sixteen cells, three clips."""


def _command(words: list[str], out: str, err: str) -> None:
    os.setsid()  # a group of its own, as a shell makes it
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


class Run:
    """A `run` of the small study in another process."""

    _number = 0

    def __init__(self, root: StudyRoot, *more: str) -> None:
        Run._number += 1
        logs = root.path.parent / f"{root.path.name}.log"
        logs.mkdir(exist_ok=True)
        self.root, self._out, self._err = root, logs / f"{Run._number}.out", logs / f"{Run._number}.err"
        words = ["run", "small", "--root", str(root.path), "--config-dir", str(study.CONF), "--json"]
        words += [*more, "exec.threads=1"]
        self._process = _CONTEXT.Process(target=_command, args=(words, str(self._out), str(self._err)))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid
        self._children: dict[int, psutil.Process] = {}

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.exitcode is not None

    def children(self) -> list[psutil.Process]:
        """Processes that it has started and that live."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children(recursive=True):
                self._children[child.pid] = child
        return [child for child in self._children.values() if _lives(child)]

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that compute."""
        signs = [
            json.loads(path.read_text())["process"] for path in attempt(self.root).glob("launches/*/jobs/*.json")
        ]
        return [child for child in self.children() if child.pid in signs]

    def signal(self, number: int, group: bool = False) -> None:
        """Send a signal, to the process or to its whole group, as a terminal does."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, look: Callable[[], object] = lambda: None) -> study.Done:
        """Wait until it has ended, and call `look` meanwhile."""
        while not self.ended:
            look()
            self._process.join(0.002)
        look()
        code = self._process.exitcode
        assert code is not None
        return study.Done(code, self._out.read_text(), self._err.read_text())

    def orphans(self) -> list[psutil.Process]:
        """Processes that it started and that still live; those that find out that it ended get time for it."""
        for _ in range(600):
            if not (left := self.children()):
                return []
            time.sleep(0.1)
        return left


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def attempt(root: StudyRoot) -> Path:
    """The folder of the first attempt."""
    return study.outputs(root) / "attempts" / "1"


class Journal:
    """All rows that were ever in the journal of a root, gathered while runs come and go."""

    def __init__(self, root: StudyRoot) -> None:
        self._folder, self._files = attempt(root) / "journal", dict[Path, tuple[tuple[str, str], ...]]()

    def look(self) -> None:
        """Read the files that are new."""
        with suppress(FileNotFoundError):  # it is removed when the attempt is complete
            for path in self._folder.glob("*/*.jsonl"):
                if path not in self._files and (header := read_header(path)):
                    self._files[path] = tuple((cell, header.unit) for cell in header.cells)

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self._files)

    def computed(self) -> Counter[tuple[str, str]]:
        """How often each cell was computed at each clip."""
        return Counter(row for rows in self._files.values() for row in rows)

    @property
    def twice(self) -> int:
        """Number of clips of a model that were computed more than once."""
        return sum(count - 1 for count in Counter(rows for rows in self._files.values()).values())


class Moment:
    """Waits for a change of the files of a study."""

    KINDS = (
        "launched",
        "announced",
        "job",
        "half a row",
        "one clip",
        "two clips",
        "half a cell",
        "one cell",
        "five cells",
        "completed",
    )

    def __init__(self, root: StudyRoot, kind: str) -> None:
        self.kind, self._root, self._folder = kind, root, attempt(root)
        self._before = self._state()

    def _state(self) -> tuple[int, ...]:
        folder = self._folder
        size = self._root.ledger.stat().st_size
        return (
            size,
            len(list(folder.glob("launches/*/launcher.json"))),
            len(list(folder.glob("launches/*/jobs/*.json"))),
            len(list(folder.glob("journal/*/*.jsonl"))),
            len([path for path in folder.glob("cells/*") if path.name[0] != "."]),
        )

    def come(self) -> bool:
        """Whether the moment has come."""
        size, signs, jobs, rows, cells = (now - was for now, was in zip(self._state(), self._before, strict=True))
        if self.kind in ("launched", "completed"):
            with suppress(OSError):
                return size > 0 and f'"{self.kind}"'.encode() in self._root.ledger.read_bytes()[self._before[0] :]
            return False
        return {
            "announced": lambda: signs > 0,
            "job": lambda: jobs > 0,
            "half a row": lambda: any(self._folder.glob("journal/*/.*.tmp")),
            "one clip": lambda: rows >= 1,
            "two clips": lambda: rows >= 2,
            "half a cell": lambda: any(self._folder.glob("cells/.tmp-*")),
            "one cell": lambda: cells >= 1,
            "five cells": lambda: cells >= 5,
        }[self.kind]()


def wait_for(run: Run, moment: Moment, journal: Journal, chance: random.Random) -> bool:
    """Wait for a moment of a run, and a little longer; whether the run is still there."""
    while not moment.come():
        journal.look()
        if run.ended:
            return False
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, 0.03))
    return not run.ended


def whole(root: StudyRoot) -> None:
    """What a stopped run left can be read: the ledger and all cells."""
    ledger.read(root)
    for path in attempt(root).glob("cells/few-*"):
        read_cell(path)


def finish(root: StudyRoot, journal: Journal, undisturbed: StudyRoot, *more: str) -> None:
    """Resume until the end: it ends as if nothing had happened."""
    done = Run(root, *more).wait(journal.look)
    assert done.code == 0, done.err
    assert done.json["complete"]
    assert len(journal.computed()) == ROWS
    as_undisturbed(root, undisturbed)


def as_undisturbed(root: StudyRoot, undisturbed: StudyRoot) -> None:
    """A completed study has the numbers of an undisturbed one, a valid ledger, and no trace of a failure."""
    assert study.contents(root) == study.contents(undisturbed)
    folder = attempt(root)
    assert not [path for path in folder.glob("cells/*") if path.name[0] == "."]
    assert not (folder / "journal").exists()
    assert failures(folder) == []
    events = [leaf.event for leaf in ledger.read(root).leaves]
    assert events[0] == "registered"
    assert events.count("completed") == 1
    assert set(events) == {"registered", "launched", "completed"}
    status = study.command("status", "small", "--root", root.path, "--json").json
    assert (status["done"], status["missing"], status["failed"], status["completed"]) == (study.CELLS, 0, 0, True)
    judged = study.command("verdict", "--root", root.path, "small")
    assert judged.code == 0, judged.err
    audited = study.command("audit", "--root", root.path, "small")
    assert audited.code == 0, audited.err
    assert deviations(root) == deviations(undisturbed)


def deviations(root: StudyRoot) -> set[str]:
    """Codes of the deviations in the verdict."""
    verdict = json.loads((study.outputs(root) / "verdict.json").read_text())
    return {deviation["code"] for deviation in verdict["deviations"]}


def copy(root: StudyRoot, folder: Path) -> StudyRoot:
    """A copy of a root that no run has touched yet."""
    shutil.copytree(root.path, folder)
    return StudyRoot(folder)
