"""Share the cores and the memory of this machine among worker processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loky
import psutil
import torch
from loky.process_executor import TerminatedWorkerError

from vjepa_stress.errors import MachineFailure, Tampered
from vjepa_stress.provenance import make_importable
from vjepa_stress.sweep.bind import ExecConfig
from vjepa_stress.sweep.computation import Computation, configure_torch, forget_models
from vjepa_stress.sweep.compute import Model, Prepared, Source
from vjepa_stress.sweep.launch import Launch, Unit
from vjepa_stress.sweep.worker import stop_with_parent, work

_SHORT = 8.0
"""Seconds of work below which starting other processes does not pay."""

_OF_MEMORY = 0.8
"""Share of the available memory that workers may take."""


@dataclass(frozen=True)
class Cost:
    """Measured cost of a model, with one thread.

    Attributes:
        seconds: for one encoding.
        memory: bytes that a process with the model has used at most.
    """

    seconds: float
    memory: int


@dataclass(frozen=True)
class Split:
    """Number of worker processes, and of threads in each."""

    workers: int
    threads: int

    @property
    def here(self) -> bool:
        """Whether the launching process itself is the only worker."""
        return self.workers == 1 and self.threads == 1


def cores() -> int:
    """Number of cores that this process may use: affinity, quotas of control groups and SLURM's allocation count."""
    n = int(loky.cpu_count())
    if "SLURM_JOB_ID" in os.environ:  # without a plugin of SLURM that binds tasks to cores, they see all cores
        allocated = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
        n = min(n, int(allocated)) if allocated.isdigit() else n
    return max(1, n)


def memory() -> int:
    """Bytes of memory that are available, to the machine and in this control group."""
    available = int(psutil.virtual_memory().available)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            available = min(available, int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(0, available)


def measure(computation: Computation, units: Sequence[Unit]) -> Cost | None:
    """Measure a model with one thread on the clean clip of the first unit that can be encoded.

    The failure of a unit is recorded by the worker that computes it, not here.

    Returns:
        The cost; None if no unit can be encoded.

    Raises:
        StressError: when a model cannot be loaded.
    """
    configure_torch(1)
    for unit in units:
        cost = _cost(computation.model(unit.model), computation.source(unit.dataset), unit)
        if cost is not None:
            return cost
    return None


def _cost(model: Model, source: Source, unit: Unit) -> Cost | None:
    try:
        seconds = _seconds(model, source.prepare(unit.clip, (), ()))
    except (Tampered, MachineFailure):
        raise
    except Exception:
        return None
    return Cost(seconds, peak_memory())


def _seconds(model: Model, prepared: Prepared) -> float:
    """Seconds of one encoding; the second one if the first, with its warm-up, was short."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        model.encode_clean(prepared)
        seconds = time.perf_counter() - started
        if seconds > _SHORT / 2:
            break
    return seconds


def peak_memory() -> int:
    """Bytes that this process has used at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def split(cost: Cost, encodings: int, units: int, n_cores: int, available: int) -> Split:
    """Choose workers and threads: processes with one thread each, as many as the memory holds."""
    if cost.seconds * encodings < _SHORT or units == 1:
        return Split(1, 1 if cost.seconds * encodings < _SHORT else n_cores)
    fitting = int(available * _OF_MEMORY) // max(1, cost.memory)
    workers = max(1, min(n_cores, units, fitting))
    return Split(workers, max(1, n_cores // workers))


def choose(launch: Launch, units: Sequence[Unit], exec_config: ExecConfig) -> Split:
    """Workers and threads for the units of a job: those of `exec_config`, or chosen by the measured cost."""
    workers, threads = exec_config.workers, exec_config.threads
    computation = launch.computation(exec_config)
    if computation.device.type != "cpu":
        return Split(1, 1)
    if workers is not None:
        return Split(min(workers, len(units)), threads or max(1, cores() // workers))
    cost = measure(computation, units)
    if cost is None:
        return Split(1, threads or 1)
    encodings = sum(len(unit.cells) + 1 for unit in units)
    chosen = split(cost, encodings, len(units), cores(), memory())
    if threads is None:
        return chosen
    return Split(1 if chosen.workers == 1 else max(1, min(chosen.workers, cores() // threads)), threads)


def compute(
    launch: Launch, models: Sequence[str] | None, shares: Sequence[tuple[int, int]], exec_config: ExecConfig, job: str
) -> None:
    """Compute the units of a job, in this process or in several.

    Raises:
        StressError: see `work`; `MachineFailure` when a worker process died twice.
    """
    units = launch.units(models, shares)
    if not units:
        return
    chosen = choose(launch, units, exec_config)
    if chosen.here:
        work(launch, units, exec_config.model_copy(update={"threads": chosen.threads}), job)
        return
    forget_models()
    exec_config = exec_config.model_copy(update={"threads": chosen.threads})
    for last in (False, True):
        try:
            _in_processes(launch.path, models, shares, exec_config, job, chosen)
        except TerminatedWorkerError as error:
            if last:
                raise MachineFailure(
                    "a worker process was killed; computed clips are kept",
                    where=job,
                    found=str(error).splitlines()[0],
                    fix=f"if the memory was full, use fewer workers: exec.workers={max(1, chosen.workers // 2)}",
                ) from error
        else:
            return


def _in_processes(
    path: Path,
    models: Sequence[str] | None,
    shares: Sequence[tuple[int, int]],
    exec_config: ExecConfig,
    job: str,
    chosen: Split,
) -> None:
    executor = _pool.of(chosen)
    with _no_interrupt_in_children():
        futures = [
            executor.submit(
                work_share, path, models, [*shares, (k, chosen.workers)], exec_config.model_dump_json(), f"{job}_{k}"
            )
            for k in range(1, chosen.workers + 1)
        ]
    try:
        for future in futures:
            future.result()
    except BaseException:
        stop_workers()
        raise


@contextmanager
def _no_interrupt_in_children() -> Iterator[None]:
    """Let processes that the block starts ignore Ctrl-C, which a terminal sends to them too. This one ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work_share(
    path: Path, models: Sequence[str] | None, shares: Sequence[tuple[int, int]], exec_config: Any, job: str
) -> None:
    """One worker process: compute its share of a job. Everything it needs is read from the launch."""
    launch, config = Launch.read(path), ExecConfig.model_validate_json(exec_config)
    make_importable(launch.root, config.plugins)
    torch.set_num_threads(config.threads or 1)
    work(launch, launch.units(models, shares), config, job)


class _Pool:
    """The worker processes of this process: kept from job to job, as starting them takes seconds."""

    def __init__(self) -> None:
        self._executor: Any = None
        self._split: Split | None = None
        self.stopped: set[int] = set()

    def of(self, chosen: Split) -> Any:
        """An executor with these workers; the same one as before if it has them."""
        if self._split != chosen:
            self.stop()
            # Threads that wait must not spin: they would take the cores from other processes.
            environment = {"OMP_NUM_THREADS": str(chosen.threads), "OMP_WAIT_POLICY": "PASSIVE"}
            self._executor = loky.ProcessPoolExecutor(
                chosen.workers, timeout=None, env=environment, initializer=stop_with_parent, initargs=(os.getpid(),)
            )
            self._split = chosen
        return self._executor

    def stop(self) -> None:
        """End the workers."""
        executor, self._executor, self._split = self._executor, None, None
        if executor is not None:
            self.stopped.update(child.pid for child in psutil.Process().children())
            executor.shutdown(wait=True, kill_workers=True)


_pool = _Pool()


def stop_workers() -> frozenset[int]:
    """End the worker processes of this process, if there are any; the numbers of all that were ever ended."""
    _pool.stop()
    return frozenset(_pool.stopped)
