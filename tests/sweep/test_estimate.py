"""What `plan` says, against formulas and against what a finished study takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import study
from tests.sweep.launched import EXEC, launched
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.commit import assemble
from vjepa_stress.sweep.estimate import Estimate, GroupCost, bytes_needed, free_space
from vjepa_stress.sweep.worker import work


def plan(root: StudyRoot, *more: str) -> dict[str, object]:
    done = study.command("plan", "small", "--root", root.path, "--config-dir", study.CONF, "--json", *more)
    assert done.code == 0, done.err
    values = done.json
    assert isinstance(values, dict)
    return values


def test_encodings(tmp_path: Path) -> None:
    """Each clip once clean and once for each cell, for each model."""
    root = study.registered(tmp_path / "root")
    before = sorted(root.path.rglob("*"))
    values = plan(root, "--no-calibrate")
    assert (values["registered"], values["missing"], values["encodings"]) == (16, 16, 2 * 3 * (8 + 1))
    assert values["seconds"] is None
    some = plan(root, "--no-calibrate", "model=tiny", "perturbation=gaussian_noise", "strength=0.2,0.6")
    assert (some["missing"], some["encodings"]) == (2, 3 * (2 + 1))
    timed = plan(root, "--workers", "2")
    assert sorted(root.path.rglob("*")) == before  # nothing is written
    seconds = timed["seconds"]
    assert isinstance(seconds, float)
    groups = timed["groups"]
    assert isinstance(groups, list)
    assert seconds == pytest.approx(sum(group["seconds"] * group["encodings"] / 2 for group in groups), abs=0.06)


def test_only_what_is_missing_counts(tmp_path: Path, lean: StudyRoot) -> None:
    done = plan(lean, "--no-calibrate")
    assert (done["missing"], done["encodings"], done["bytes_needed"], done["groups"]) == (0, 0, 0, [])
    root = study.registered(tmp_path / "root")
    one = study.run(root, "model=tiny", "perturbation=reverse")
    assert one.code == 0, one.err
    rest = plan(root, "--no-calibrate")
    assert (rest["missing"], rest["encodings"]) == (15, 3 * (7 + 1) + 3 * (8 + 1))


@pytest.mark.parametrize("data", ["few", pytest.param("small", marks=pytest.mark.slow)])
def test_bytes_are_at_least_those_of_a_run_and_at_most_three_times_as_many(tmp_path: Path, data: str) -> None:
    root = study.new_root(tmp_path / "root", study.calibration(data))
    assert study.register(root).code == 0
    launch = launched(root)
    work(launch, launch.units(), EXEC)
    assert assemble(launch) == study.CELLS
    used = sum(path.stat().st_size for path in launch.attempt_folder.rglob("*") if path.is_file())
    assert used < bytes_needed(launch.design, launch.cells.values()) < 3 * used
    assert plan(root, "--no-calibrate")["bytes_needed"] == 0


def test_hours() -> None:
    """Workers share the clips of a model; more workers than clips do not help."""
    groups = (GroupCost("a", "x", 10, 9, 0.5), GroupCost("b", "x", 4, 4, 2.0))
    cost = Estimate(13, 13, groups, 0, 0, 1)
    assert cost.encodings == 10 * 10 + 4 * 5
    assert cost.seconds(1) == 100 * 0.5 + 20 * 2.0
    assert cost.seconds(4) == (100 * 0.5 + 20 * 2.0) / 4
    assert cost.seconds(8) == 100 * 0.5 / 8 + 20 * 2.0 / 4
    assert cost.seconds(1000) == 100 * 0.5 / 10 + 20 * 2.0 / 4
    assert Estimate(13, 13, (*groups, GroupCost("c", "x", 1, 1)), 0, 0, 1).seconds(1) is None
    assert Estimate(13, 0, (), 0, 0, 1).seconds(1) == 0


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert free_space(tmp_path / "a" / "b") == pytest.approx(free_space(tmp_path), rel=0.1)
    assert free_space(tmp_path) > 0
