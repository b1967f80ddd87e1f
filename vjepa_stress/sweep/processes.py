"""The launcher for processes of this machine: jobs run beside each other, and one that dies stops no other."""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, ClassVar

import joblib
import loky
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra_plugins.hydra_joblib_launcher._core import execute_job
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

from vjepa_stress.sweep.registered import NamesLostJobs
from vjepa_stress.sweep.request import PROCESSES, named
from vjepa_stress.sweep.worker import stop_with_parent

_Jobs = queue.SimpleQueue[tuple[int, Sequence[str]]]


class ProcessLauncher(NamesLostJobs, JoblibLauncher):  # type: ignore[misc]
    """Runs `n_jobs` jobs at once, each in a pool of its own with one process.

    With one pool for all, as in joblib, the death of one process ends the others too.
    """

    target: ClassVar[str] = PROCESSES

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and return the results of those whose process survived; the others are in `failed`."""
        if self.config is None:
            raise RuntimeError("setup was not called")
        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs: _Jobs = queue.SimpleQueue()
        for job in enumerate(job_overrides, initial_job_idx):
            jobs.put(job)
        at_once = min(joblib.effective_n_jobs(self.joblib["n_jobs"]), len(job_overrides))
        pools: dict[int, loky.ProcessPoolExecutor] = {}
        stop = threading.Event()
        with ThreadPoolExecutor(at_once, thread_name_prefix="jobs") as slots:
            working = [slots.submit(self._work, slot, jobs, pools, stop) for slot in range(at_once)]
            try:
                done = [found for slot in working for found in slot.result()]
            finally:  # also after Ctrl-C: processes of a launch that nobody waits for must not go on
                stop.set()
                for pool in list(pools.values()):
                    pool.shutdown(wait=False, kill_workers=True)
        return [found for _, found in sorted(done, key=lambda numbered: numbered[0])]

    def _work(
        self, slot: int, jobs: _Jobs, pools: dict[int, loky.ProcessPoolExecutor], stop: threading.Event
    ) -> list[tuple[int, JobReturn]]:
        """Run jobs one after the other, until there are none."""
        done: list[tuple[int, JobReturn]] = []
        while not stop.is_set():
            try:
                number, overrides = jobs.get_nowait()
            except queue.Empty:
                break
            if slot not in pools:
                pools[slot] = self._pool()
            job = (number, overrides, self.hydra_context, self.config, self.task_function, Singleton.get_state())
            try:
                done.append((number, pools[slot].submit(execute_job, *job).result()))
            except BrokenProcessPool as error:
                pools.pop(slot).shutdown(wait=False, kill_workers=True)
                if not stop.is_set():
                    how = re.search(r"\{(.+?)\}", str(error))
                    self.failed.append(
                        f"the process of job {number} ({named(overrides)}) was killed"
                        + (f" (exit code {how[1]})" if how else "")
                    )
        return done

    def _pool(self) -> loky.ProcessPoolExecutor:
        # Threads that wait must not spin: they would take the cores from other processes.
        threads: Any = self.config.exec.threads if self.config is not None else None
        environment = {"OMP_NUM_THREADS": str(threads or 1), "OMP_WAIT_POLICY": "PASSIVE"}
        return loky.ProcessPoolExecutor(
            1, timeout=None, env=environment, initializer=stop_with_parent, initargs=(os.getpid(),)
        )
