"""The sweep on a GPU: values close to those of the CPU, and batches that do not depend on what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.small import study
from vjepa_stress.records import read_cell
from vjepa_stress.study_root import StudyRoot

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


def computed(folder: Path, *settings: tuple[str, ...]) -> StudyRoot:
    root = study.registered(folder)
    for words in settings:
        done = study.run(root, *words)
        assert done.code == 0, done.err
    return root


def test_values_are_close_to_those_of_the_cpu(lean: StudyRoot, tmp_path: Path) -> None:
    root = computed(tmp_path / "root", ("exec.device=cuda",))
    for path in study.cells(root).iterdir():
        rows = read_cell(path).table.to_pylist()
        expected = read_cell(study.cells(lean) / path.name).table.to_pylist()
        for row, other in zip(rows, expected, strict=True):
            for name, value in row.items():
                if isinstance(value, float):
                    assert value == pytest.approx(other[name], abs=1e-5)


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    cuda = "exec.device=cuda"
    whole = computed(tmp_path / "whole", (cuda,))
    parts = computed(tmp_path / "parts", (cuda, "perturbation=gaussian_noise", "strength=0.6"), (cuda,))
    assert study.contents(whole) == study.contents(parts)


def test_other_batches_are_within_a_hundred_thousandth_and_said(tmp_path: Path) -> None:
    one = computed(tmp_path / "one", ("exec.device=cuda", "exec.batch=1"))
    four = computed(tmp_path / "four", ("exec.device=cuda", "exec.batch=4"))
    for path in study.cells(one).iterdir():
        single, several = read_cell(path), read_cell(study.cells(four) / path.name)
        assert {worker.batch for worker in single.manifest.workers} == {1}
        assert {worker.batch for worker in several.manifest.workers} == {4}
        for row, other in zip(single.table.to_pylist(), several.table.to_pylist(), strict=True):
            for name, value in row.items():
                if isinstance(value, float):
                    assert value == pytest.approx(other[name], abs=1e-5)
