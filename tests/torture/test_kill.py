"""`kill -9` at chosen and random moments: what is left is whole, and the next run continues from it."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.torture.process import Journal, Moment, Run, copy, finish, wait_for, whole
from vjepa_stress.study_root import StudyRoot


def kill(root: StudyRoot, journal: Journal, kind: str, chance: random.Random, *more: str) -> bool:
    """Start a run and kill it at a moment; whether it was killed before its end."""
    moment = Moment(root, kind)
    run = Run(root, *more)
    there = wait_for(run, moment, journal, chance)
    run.children()
    run.signal(signal.SIGKILL)
    done = run.wait(journal.look)
    assert done.code in (0, -signal.SIGKILL), done.err
    assert run.orphans() == []
    whole(root)
    return there and done.code != 0


def kill_many_times(
    untouched: StudyRoot, lean: StudyRoot, folder: Path, kinds: list[str], seed: int, *more: str
) -> Counter[str]:
    """Kill one study at these moments, one run after the other, and finish it; how often each moment was hit."""
    root, chance, hits = copy(untouched, folder), random.Random(seed), Counter[str]()
    journal = Journal(root)
    for kind in kinds:
        if kill(root, journal, kind, chance, *more):
            hits[kind] += 1
    finish(root, journal, lean, *more)
    # Whatever is in the journal is not computed again, so that a kill costs the clips in flight only.
    assert journal.twice == 0
    return hits


def test_three_kills(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    kinds = ["announced", "one clip", "half a cell"]
    assert sum(kill_many_times(untouched, lean, tmp_path / "root", kinds, 1).values()) >= 2


SEQUENCES = (
    ["launched", "half a row", "one clip", "half a cell", "five cells"],
    ["announced", "job", "two clips", "one cell", "completed"],
    ["half a row", "two clips", "half a row", "half a cell", "half a cell"],
    ["job", "one clip", "one clip", "five cells", "completed"],
    ["launched", "announced", "half a row", "completed"],
)


@pytest.mark.slow
def test_fifty_kills(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    hits, number = Counter[str](), 0
    while sum(hits.values()) < 50:
        kinds = SEQUENCES[number % len(SEQUENCES)]
        more = ("exec.workers=2",) if number % 5 == 4 else ()
        hits += kill_many_times(untouched, lean, tmp_path / f"root{number}", kinds, 100 + number, *more)
        number += 1
    print(f"{sum(hits.values())} kills in {number} studies: {dict(hits)}")
    assert hits.keys() == set(Moment.KINDS)


@pytest.mark.slow
def test_ten_killed_workers(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    """A worker that was killed is replaced, and its clips are computed by the same run."""
    killed, number, chance = 0, 0, random.Random(7)
    while killed < 10:
        root = copy(untouched, tmp_path / f"root{number}")
        journal, run, before = Journal(root), Run(root, "exec.workers=2"), killed
        number += 1
        while not run.ended and killed == before:
            journal.look()
            for worker in run.workers()[:1]:
                time.sleep(chance.uniform(0, 0.3))
                killed += worker.is_running()
                worker.kill()
        done = run.wait(journal.look)
        assert done.code == 0, done.err
        finish(root, journal, lean)
        assert journal.twice <= killed - before
    print(f"{killed} killed workers in {number} studies")
