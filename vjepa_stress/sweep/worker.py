"""A worker: compute units one after the other, and write each to the journal.

The next clip is prepared and the last one is finished in other threads, while this thread uses the device.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import unicodedata
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from vjepa_stress.design.video import VideoCell
from vjepa_stress.errors import CannotWrite, CodeChanged, MachineFailure, StressError, Tampered
from vjepa_stress.fields import now
from vjepa_stress.provenance import code_state, package_versions
from vjepa_stress.records import RunFailure, write_failure
from vjepa_stress.records.journal import journal_files, write_rows
from vjepa_stress.records.life import sign_of_life
from vjepa_stress.records.manifest import Worker
from vjepa_stress.sweep.bind import ExecConfig
from vjepa_stress.sweep.computation import configure_torch
from vjepa_stress.sweep.compute import Model, Prepared, Result, Source
from vjepa_stress.sweep.launch import Launch, Unit
from vjepa_stress.terminal import printable

_UNFINISHED = 4
"""Batches whose measurements may wait for the CPU. Each holds its features on the device."""


def work(launch: Launch, units: Sequence[Unit], exec_config: ExecConfig, job: str = "job") -> None:
    """Compute units in this process; cells that the journal has already are left out.

    The failure of a cell at a clip is recorded, and everything else goes on.

    Args:
        launch: the launch that the units belong to.
        units: the units, in any order; those of one model should follow each other.
        exec_config: where and how fast to compute.
        job: name of the job, for its files.

    Raises:
        CodeChanged: when this worker has other code than the launching process.
        Tampered: when the registration, clips or weights are not those of the launch.
        MachineFailure, CannotWrite: when the machine fails or the journal cannot be written.
    """
    configure_torch(exec_config.threads)
    code = code_state(exec_config.plugins)
    if code.digest != launch.code.digest:
        raise CodeChanged(
            "this worker has other code than the launching process",
            expected=launch.code.digest,
            found=code.digest,
            fix="install the same code on every machine, then run the same command again",
        )
    name = re.sub(r"[^A-Za-z0-9_.]", "_", f"{job}-{platform.node()}-{os.getpid()}")
    with sign_of_life(launch.folder / "jobs" / f"{name}.json"):
        _Work(launch, exec_config, name).run(units)


class _Work:
    """The state of a worker."""

    def __init__(self, launch: Launch, exec_config: ExecConfig, job: str) -> None:
        self.launch, self.job = launch, job
        self.computation = launch.computation(exec_config)
        self.as_worker = Worker(
            host=platform.node() or "unknown",
            device=str(self.computation.device),
            threads=torch.get_num_threads(),
            batch=self.computation.batch,
            packages=package_versions(),
        )
        self._sources: dict[str, Source] = {}
        self._models: dict[str, Model] = {}

    def run(self, units: Sequence[Unit]) -> None:
        """Compute units: prepare one ahead, use the device, finish behind."""
        with (
            ThreadPoolExecutor(1, thread_name_prefix="prepare") as ahead,
            ThreadPoolExecutor(1, thread_name_prefix="finish") as behind,
        ):
            try:
                self._run(units, ahead, behind)
            except BaseException:
                ahead.shutdown(wait=False, cancel_futures=True)
                behind.shutdown(wait=False, cancel_futures=True)
                raise

    def _run(self, units: Sequence[Unit], ahead: ThreadPoolExecutor, behind: ThreadPoolExecutor) -> None:
        coming = deque(ahead.submit(self._prepare, unit) for unit in units[:1])
        written: Future[None] | None = None
        for number, unit in enumerate(units):
            ready = coming.popleft().result()
            coming.extend(ahead.submit(self._prepare, following) for following in units[number + 1 : number + 2])
            if ready is None:
                continue
            if isinstance(ready.prepared, Exception):
                self._fail(unit, list(ready.missing), ready.prepared)
                continue
            model = self._model(unit.model)
            try:
                finished = self._use_device(model, ready.prepared, behind)
            except (Tampered, MachineFailure, CannotWrite):
                raise
            except Exception as error:
                self._fail(unit, list(ready.missing), error)
                continue
            if written is not None:
                written.result()  # raises what went wrong with the last clip
            written = behind.submit(self._write, unit, ready, finished)
        if written is not None:
            written.result()

    def _prepare(self, unit: Unit) -> _Ready | None:
        """Decode a clip for the cells that the journal lacks; None when it has them all."""
        missing = self._missing(unit)
        if not missing:
            return None
        if unit.dataset not in self._sources:
            self._sources[unit.dataset] = self.computation.source(unit.dataset)
        started = now()
        try:
            planned = self.computation.planned[unit.model, unit.dataset]
            return _Ready(missing, self._sources[unit.dataset].prepare(unit.clip, missing, planned), started)
        except (Tampered, MachineFailure, CannotWrite):
            raise
        except Exception as error:
            return _Ready(missing, error, started)

    def _missing(self, unit: Unit) -> tuple[VideoCell, ...]:
        group, names = self.launch.group_of(unit), self.launch.names
        known: set[str] = set()
        for file in journal_files(group.journal, unit.clip.digest):
            if file.header.facts == group.facts and file.lines() is not None:
                known.update(file.header.cells)
        return tuple(cell for cell in unit.cells if names[cell] not in known)

    def _model(self, name: str) -> Model:
        """A model, loaded; one that cannot be loaded ends the job, as no clip can be encoded."""
        if name not in self._models:
            self._models = {}  # one model in memory at a time
            self._models[name] = self.computation.model(name)
        return self._models[name]

    @staticmethod
    def _use_device(model: Model, prepared: Prepared, behind: ThreadPoolExecutor) -> list[Future[list[Result]]]:
        waiting: deque[Future[list[Result]]] = deque()
        finished: list[Future[list[Result]]] = []
        for finish in model.measure(prepared):
            waiting.append(behind.submit(finish))
            finished.append(waiting[-1])
            if len(waiting) > _UNFINISHED:
                waiting.popleft().result()
        return finished

    def _write(self, unit: Unit, ready: _Ready, finished: Sequence[Future[list[Result]]]) -> None:
        wanted = set(ready.missing)
        results = [result for future in finished for result in future.result() if result.cell in wanted]
        for result in results:
            if result.error is not None:
                self._fail(unit, [result.cell], result.error)
        rows = [result for result in results if result.row is not None]
        if not rows:
            return
        self.launch.verify_document()
        group, names = self.launch.group_of(unit), self.launch.names
        header = {
            "launch": self.launch.ledger_checkpoint,
            "facts": group.facts,
            "unit": unit.clip.digest,
            "cells": tuple(names[result.cell] for result in rows),
            "worker": self.as_worker,
            "started": ready.started,
            "finished": now(),
        }
        write_rows(group.journal, header, self.job, [(result.row or {}, result.seconds) for result in rows])

    def _fail(self, unit: Unit, cells: list[VideoCell], error: Exception) -> None:
        write_failure(
            self.launch.attempt_folder,
            RunFailure(
                schema="vjepa-stress/failure/v3",
                prereg_digest=self.launch.prereg_digest,
                attempt=self.launch.attempt,
                unit=unit.clip.digest,
                unit_name=unit.clip.name,
                cells=tuple(cells),
                error=type(error).__name__,
                message=_message(error),
                at=now(),
                host=self.as_worker.host,
            ),
        )


@dataclass(frozen=True)
class _Ready:
    """A clip that is ready for the device, or the error that prevented it."""

    missing: tuple[VideoCell, ...]
    prepared: Prepared | Exception
    started: str


def _message(error: Exception) -> str:
    """The message of an error as a document can hold it: no control characters, Unicode normal form C."""
    text = str(error) if isinstance(error, StressError) else f"{type(error).__name__}: {error}"
    return unicodedata.normalize("NFC", printable(text))


def stop_with_parent(parent: int) -> None:
    """End this process soon after the process that started it has ended, however that one ended.

    Args:
        parent: number of the process that started this one.
    """

    def watch() -> None:
        waiting = threading.Event()
        while os.getppid() == parent:
            waiting.wait(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="stop with parent").start()
