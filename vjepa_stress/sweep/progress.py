"""Progress of long work: a bar with the time left on a terminal, plain lines elsewhere."""

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

from vjepa_stress.terminal import printable

_SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Say that one unit of work is done."""

    def __call__(self, now_doing: str) -> None:
        """Advance by one; `now_doing` names what was done."""


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
            TextColumn("{task.fields[doing]}", markup=False),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task(printable(title), total=total, doing="")
            yield lambda now_doing: bar.update(task, advance=1, doing=printable(now_doing))
        return
    started = last = time.monotonic()
    done = found = 0

    def advance(now_doing: str) -> None:
        nonlocal done, found, last
        done += 1
        at = time.monotonic()
        if at - started < 1:
            found = done  # by an earlier session, more likely than not: it says nothing of the time a part takes
        if done == total or at - last >= _SECONDS_BETWEEN_LINES:
            last = at
            left = (at - started) / max(1, done - found) * (total - done)
            line = f"{title}: {done}/{total}, about {duration(left)} left, {now_doing}"
            print(printable(line), file=sys.stderr, flush=True)

    yield advance


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, str], None]]:
    """Show progress of work whose amount is known only when its first part is done: the block says it each time."""
    with ExitStack() as stack:
        advance: list[Advance] = []

        def one_more(total: int, now_doing: str) -> None:
            if not advance:
                advance.append(stack.enter_context(progress(title, total)))
            advance[0](now_doing)

        yield one_more


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


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
