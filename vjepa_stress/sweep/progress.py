"""Progress of long operations: a bar with the remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from vjepa_stress.terminal import duration, printable

_SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Report that one step is done."""

    def __call__(self, step: str) -> None:
        """Advance by one; `step` describes what was done."""


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show progress on standard error while the block runs."""
    if sys.stderr.isatty():
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[step]}", markup=False),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task(printable(title), total=total, step="")
            yield lambda step: bar.update(task, advance=1, step=printable(step))
        return
    started = last = time.monotonic()
    done = done_before = 0

    def advance(step: str) -> None:
        nonlocal done, done_before, last
        done += 1
        now = time.monotonic()
        if now - started < 1:
            done_before = done  # steps of an earlier session, most likely: they do not count for the remaining time
        if done == total or now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            left = (now - started) / max(1, done - done_before) * (total - done)
            line = f"{title}: {done}/{total}, about {duration(left)} left, {step}"
            print(printable(line), file=sys.stderr, flush=True)

    yield advance


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, str], None]]:
    """Show progress when the number of steps is known only after the first step; the block passes it each time."""
    with ExitStack() as stack:
        advance: list[Advance] = []

        def count(total: int, step: str) -> None:
            if not advance:
                advance.append(stack.enter_context(progress(title, total)))
            advance[0](step)

        yield count


@contextmanager
def byte_progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a download: the block calls with the bytes that are there and, where known, their total."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task(printable(title), total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES or done == total:
            last = time.monotonic()
            share = f" of {total / 1e6:.0f}" if total else ""
            print(printable(f"{title}: {done / 1e6:.0f}{share} MB"), file=sys.stderr, flush=True)

    yield show
