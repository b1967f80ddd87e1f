"""The launcher for SLURM: one array of tasks; all are collected, and lost ones are named."""

from __future__ import annotations

import os
import subprocess
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from omegaconf import OmegaConf
from submitit.core.utils import pickle_load
from submitit.slurm.slurm import SlurmInfoWatcher

from vjepa_stress.errors import MachineFailure
from vjepa_stress.sweep.registered import NamesLostJobs
from vjepa_stress.sweep.request import ARRAYS, named
from vjepa_stress.terminal import printable

_FORGOTTEN = "LOST"
"""State of a task of which neither the accounting nor the controller knows anything."""

_ENDED = {
    *(
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
    ),
    *("TIMEOUT", _FORGOTTEN),
}
"""States after which a task does not run, unless it is queued again."""

_PATIENCE = {
    **dict.fromkeys(("BOOT_FAIL", "NODE_FAIL", "PREEMPTED"), 90.0),  # SLURM may queue the task again
    "COMPLETED": 30.0,  # its result may appear late, from another machine
}
"""Seconds from the end of a task until it counts as lost if there is no result; for all other states, the next."""

_OTHERWISE = 5.0

_DELAY = 15
"""Most seconds between two questions to SLURM."""


class Watcher(SlurmInfoWatcher):
    """States of tasks: from the accounting, or from the controller where there is no accounting of them."""

    def __init__(self) -> None:
        super().__init__(delay_s=_DELAY)

    def update(self) -> None:
        """Ask SLURM for the state of all registered tasks."""
        command = self._make_command()
        if command is None:
            return
        self._num_calls += 1
        found = self.read_info(_answer(command) or "")
        if unknown := self._registered - found.keys():
            # The user's jobs, not these: with a job that it has forgotten, squeue would fail.
            answer = _answer(["squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T"])
            if answer is not None:
                queued = dict(line.split("|") for line in answer.splitlines() if line.count("|") == 1)
                found |= {job: {"JobID": job, "State": queued.get(job, _FORGOTTEN)} for job in unknown}
        self._info_dict.update({job: found[job] for job in self._registered & found.keys()})
        self._last_status_check = time.time()

    def ended(self, job: str) -> str | None:
        """The state of a task that does not run and is not queued; None for all others."""
        words = self.get_state(job).upper().split()  # for instance: CANCELLED by 0
        return words[0] if words and words[0] in _ENDED else None

    def collected(self, job: str) -> None:
        """Ask no more for a task."""
        self._registered.discard(job)


def _answer(command: Sequence[str]) -> str | None:
    """The output of a command of SLURM; None when it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None


class ArrayLauncher(NamesLostJobs, SlurmLauncher):  # type: ignore[misc]
    """Submits the jobs as one array, and waits for the end of every task, whatever becomes of the others."""

    target: ClassVar[str] = ARRAYS

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and return the results of those that did not fail; the others are in `failed`."""
        arguments = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state())
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        try:
            jobs = self._executor().map_array(self, *zip(*arguments, strict=True))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            raise MachineFailure(
                "SLURM did not accept the array",
                found=str(error).strip().splitlines()[-1],
                fix="correct the settings under hydra.launcher, for instance hydra.launcher.partition=gpu",
            ) from error
        names = {job.job_id: named(overrides) for job, overrides in zip(jobs, job_overrides, strict=True)}
        try:
            return _collect(jobs, names, Watcher())
        except BaseException:  # Ctrl-C, for instance: tasks of a launch that nobody waits for must not go on
            _answer(["scancel", *sorted({job.job_id.split("_")[0] for job in jobs})])
            raise

    def _executor(self) -> submitit.AutoExecutor:
        params: dict[str, Any] = dict(self.params)
        folder, timeouts = params.pop("submitit_folder"), params.pop("max_num_timeout")
        if cpus := params.get("cpus_per_task"):
            params["srun_args"] = [f"--cpus-per-task={cpus}"]  # since 22.05, srun does not take it from sbatch
        general = set(OmegaConf.structured(BaseQueueConf).keys())
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        executor.update_parameters(
            **{key if key in general else f"slurm_{key}": value for key, value in params.items()}
        )
        return executor


def _collect(jobs: Iterable[submitit.Job[Any]], names: Mapping[str, str], watcher: Watcher) -> list[JobReturn]:
    """Wait until every task has ended; the results of those that did not fail."""
    waiting = {job.job_id: job for job in jobs}
    for name in waiting:
        watcher.register_job(name)
    ended_since: dict[str, float] = {}
    done: list[JobReturn] = []
    while waiting:
        for name, job in list(waiting.items()):
            state = watcher.ended(name)
            found = _result(job, look_again=state is not None)
            if found is None and state is None:
                ended_since.pop(name, None)  # it is queued again
                continue
            since = time.monotonic() - ended_since.setdefault(name, time.monotonic())
            if found is None and since < _PATIENCE.get(state or "", _OTHERWISE):
                continue
            del waiting[name]
            watcher.collected(name)
            if isinstance(found, JobReturn):
                done.append(found)
            else:
                what = f"failed: {found}" if found else f"ended without a result (state {state})"
                ArrayLauncher.failed.append(
                    _line(f"SLURM task {name} ({names[name]}) {what}; log: {job.paths.stderr}")
                )
        time.sleep(1 if waiting else 0)
    return done


def _result(job: submitit.Job[Any], look_again: bool) -> JobReturn | str | None:
    """What a task returned, or the message of its error; None while there is no result."""
    folder = job.paths.folder
    if look_again:
        with suppress(OSError):
            folder.chmod(folder.stat().st_mode)  # a network file system then reads the folder again
    try:
        outcome, found = pickle_load(job.paths.result_pickle)
    except FileNotFoundError:
        return None
    except Exception as error:
        return f"its result cannot be read: {type(error).__name__}: {error}"
    if outcome != "success":
        return str(found).strip().splitlines()[-1]
    if found.status != JobStatus.COMPLETED:
        return str(found._return_value)
    return found  # type: ignore[no-any-return]


def _line(text: str) -> str:
    """A text as one line that a document can hold: no control characters, Unicode normal form C."""
    return unicodedata.normalize("NFC", printable("; ".join(line.strip() for line in text.splitlines())))
