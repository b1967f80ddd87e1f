"""Progress on a clock that the test moves: how often a line is written, and what it says of the time left."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from vjepa_stress.sweep.progress import byte_progress, counting, progress
from vjepa_stress.terminal import duration


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (90061, "25:01:01"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert not out  # standard output is for results
    return err.splitlines()


def test_a_line_every_ten_seconds_and_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("cells", 25) as advance:
        for number in range(25):
            clock.now += 2
            advance(f"cell {number}")
    found = lines(capsys)
    assert [re.findall(r"\d+/\d+", line)[0] for line in found] == ["5/25", "10/25", "15/25", "20/25", "25/25"]
    assert found[1] == "cells: 10/25, about 0:30 left, cell 9"


def test_quick_work_says_that_it_is_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("cells", 100) as advance:
        for _ in range(100):
            advance("cell")
    assert lines(capsys) == ["cells: 100/100, about 0:00 left, cell"]


def test_parts_that_were_there_already_do_not_shorten_the_estimate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("cells", 100) as advance:
        for _ in range(50):  # found at once
            advance("found")
        for _ in range(2):
            clock.now += 10
            advance("computed")
    # 10 seconds a cell, and 48 left.
    assert lines(capsys)[-1] == "cells: 52/100, about 8:00 left, computed"


def test_counting_begins_with_the_first_part(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with counting("files"):
        pass
    assert not lines(capsys)
    with counting("files") as one_more:
        one_more(2, "a")
        one_more(2, "b")
    assert lines(capsys) == ["files: 2/2, about 0:00 left, b"]


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (25_000_000, ["weights: 10 of 25 MB", "weights: 20 of 25 MB", "weights: 25 of 25 MB"]),
        (None, ["weights: 10 MB", "weights: 20 MB"]),
    ],
)
def test_bytes(total: int | None, expected: list[str], clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with byte_progress("weights") as show:
        for megabytes in range(26):
            show(1_000_000 * megabytes, total)
            clock.now += 1
    assert lines(capsys) == expected


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("cells", 3) as advance:
        for number in range(3):
            advance(f"cell {number}")
    assert "cells" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "cell 2" in terminal.getvalue()
