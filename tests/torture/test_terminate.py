"""SIGTERM and Ctrl-C: the run says that it was interrupted, stops its workers, and keeps what it has computed."""

import random
import signal
from pathlib import Path

import pytest

from tests.small import study
from tests.torture.process import Journal, Moment, Run, attempt, copy, finish, wait_for, whole
from vjepa_stress.study_root import StudyRoot


def stop(root: StudyRoot, journal: Journal, kind: str, chance: random.Random, how: str, *more: str) -> bool:
    """Stop a run at a moment; whether it was stopped before its end."""
    number = signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM
    moment = Moment(root, kind)
    run = Run(root, *more)
    there = wait_for(run, moment, journal, chance)
    run.children()
    run.signal(number, group=how != "SIGTERM")
    done = run.wait(journal.look)
    assert "Traceback" not in done.err
    assert run.orphans() == []
    whole(root)
    assert not list(attempt(root).glob("launches/*/launcher.json"))
    assert not list(attempt(root).glob("launches/*/jobs/*.json"))
    if done.code == 0:
        return False
    assert done.code == 128 + number, done.err
    assert done.err.endswith("interrupted; finished work is kept, and the same command continues from there\n")
    return there


KINDS = ("announced", "job", "half a row", "one clip", "two clips", "half a cell", "one cell", "five cells")


def stop_many_times(
    untouched: StudyRoot, lean: StudyRoot, folder: Path, kinds: list[str], seed: int, how: str
) -> int:
    """Stop one study at these moments, one run after the other, and finish it; how many runs were stopped."""
    root, chance, stopped = copy(untouched, folder), random.Random(seed), 0
    journal = Journal(root)
    more = ("exec.workers=2",) if seed % 2 == 0 else ()
    for kind in kinds:
        stopped += stop(root, journal, kind, chance, how, *more)
    finish(root, journal, lean, *more)
    assert journal.twice == 0
    return stopped


def test_one_sigterm(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    assert stop_many_times(untouched, lean, tmp_path / "root", ["one clip"], 1, "SIGTERM") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("how", "least"), [("SIGTERM", 20), ("SIGTERM to all", 5), ("Ctrl-C", 5)])
def test_many_signals(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path, how: str, least: int) -> None:
    stopped = number = 0
    while stopped < least:
        kinds = random.Random(number).sample(KINDS, 4)
        stopped += stop_many_times(untouched, lean, tmp_path / f"root{number}", kinds, 200 + number, how)
        number += 1
    print(f"{stopped} times {how} in {number} studies")


@pytest.mark.slow
def test_the_command_without_a_server(untouched: StudyRoot, lean: StudyRoot, tmp_path: Path) -> None:
    """A process that imports everything itself, as a user starts it."""
    root = copy(untouched, tmp_path / "root")
    journal = Journal(root)
    for kind, number in (("announced", signal.SIGINT), ("one clip", signal.SIGTERM)):
        moment = Moment(root, kind)
        process = study.start("run", "small", "--root", root.path, "--config-dir", study.CONF, "exec.threads=1")
        while not moment.come() and process.poll() is None:
            journal.look()
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == 128 + number, err
        assert "Traceback" not in err
        assert not list(attempt(root).glob("launches/*/launcher.json"))
    finish(root, journal, lean)
    assert journal.twice == 0
