"""Sharing cores and memory, and that it changes no number."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.small import study
from vjepa_stress.records import failures
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks
from vjepa_stress.sweep.cores import Cost, Split, cores, memory, peak_memory, split

GB = 2**30


@pytest.mark.parametrize(
    ("seconds", "gigabytes", "encodings", "units", "n_cores", "available", "expected"),
    [
        (1, 1, 1000, 100, 8, 100, (8, 1)),  # memory for all
        (1, 10, 1000, 100, 8, 100, (8, 1)),  # exactly 8 in 80 % of it
        (1, 11, 1000, 100, 8, 100, (7, 1)),
        (1, 25, 1000, 100, 8, 100, (3, 2)),  # the remaining cores are threads
        (1, 50, 1000, 100, 8, 100, (1, 8)),
        (1, 500, 1000, 100, 8, 100, (1, 8)),  # it does not fit, and one process tries
        (1, 1, 1000, 3, 8, 100, (3, 2)),  # no more processes than units
        (1, 1, 1000, 1, 8, 100, (1, 8)),  # one unit cannot be shared
        (0.001, 1, 1000, 100, 8, 100, (1, 1)),  # a second of work
        (0.001, 1, 10, 1, 8, 100, (1, 1)),
        (1, 1, 1000, 100, 1, 100, (1, 1)),
    ],
)
def test_splits(
    seconds: float,
    gigabytes: int,
    encodings: int,
    units: int,
    n_cores: int,
    available: int,
    expected: tuple[int, int],
) -> None:
    found = split(Cost(seconds, gigabytes * GB), encodings, units, n_cores, available * GB)
    assert (found.workers, found.threads) == expected


@given(
    st.floats(1e-4, 100),
    st.integers(0, 200),
    st.integers(1, 10**6),
    st.integers(1, 500),
    st.integers(1, 128),
    st.data(),
)
def test_no_split_takes_more_than_there_is(
    seconds: float, gigabytes: int, encodings: int, units: int, n_cores: int, data: st.DataObject
) -> None:
    available = data.draw(st.integers(0, 500))
    found = split(Cost(seconds, gigabytes * GB), encodings, units, n_cores, available * GB)
    assert 1 <= found.workers <= units
    assert found.threads >= 1
    assert found.workers * found.threads <= n_cores
    assert found.workers == 1 or found.workers * gigabytes <= 0.8 * available
    assert found.here == (found == Split(1, 1))


def test_this_machine() -> None:
    assert cores() >= 1
    assert memory() > 0
    before = peak_memory()
    assert before > torch.zeros(1).element_size()
    block = bytearray(peak_memory())  # twice as much as ever before at once, unless much was freed
    assert peak_memory() >= max(before, len(block))


@pytest.mark.parametrize(
    "settings",
    [
        ("exec.threads=1",),
        ("exec.threads=2", "exec.chunks=3"),
        ("exec.device=cpu",),
        pytest.param(("exec.workers=1", "exec.threads=2", "exec.batch=4"), marks=pytest.mark.slow),
        ("exec.workers=2", "exec.threads=1", "exec.chunks=3"),
        ("exec.workers=3", "exec.threads=2", "exec.batch=4"),
        pytest.param(("exec.workers=3", "exec.threads=1", "exec.chunks=3", "exec.batch=3"), marks=pytest.mark.slow),
        pytest.param(("exec.workers=1", "exec.threads=1", "exec.batch=8"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_no_setting_changes_a_bit(lean: StudyRoot, tmp_path: Path, settings: tuple[str, ...]) -> None:
    root = study.registered(tmp_path / "root")
    before = torch.get_num_threads()
    try:
        done = study.run(root, *settings)
    finally:
        torch.set_num_threads(before)
    assert done.code == 0, done.err
    assert study.contents(root) == study.contents(lean)


FRAGILE = """
from pathlib import Path

from idle_encoder import Idle
from vjepa_stress.interfaces import LoadedEncoder


class Fragile(Idle):
    \"\"\"Fails for one clip: clean, its brightness is that in a file.\"\"\"

    kind = "encoder/fragile"
    revision = 1

    def load(self, store, device, dtype, compiled):
        idle = super().load(store, device, dtype, compiled)

        def encode(video):
            if Path(__file__).with_name("broken").read_text() == str(float(video.mean())):
                raise RuntimeError("this clip is too bright")
            return idle.encode(video)

        return LoadedEncoder(idle.weights, encode)
"""


def test_a_first_clip_that_cannot_be_encoded_is_a_failure_of_its_cells_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run encodes the first clip before the others, to measure the model."""
    conf, plugins = tmp_path / "conf", tmp_path / "plugins"
    shutil.copytree(study.CONF, conf)
    plugins.mkdir()
    (plugins / "fragile.py").write_text(FRAGILE)
    (conf / "model" / "fragile.yaml").write_text("_target_: fragile.Fragile\n")
    for folder in (plugins, study.PLUGINS):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    dataset = Blocks(study.CONF).dataset("few")
    first = dataset.identify(None, 16)[0]
    pixels = dataset.read(first, None, 32).pixels.to(torch.float32).div_(255)[None]
    (plugins / "broken").write_text(str(float(pixels.mean())))
    root = study.new_root(tmp_path / "root", study.calibration("few").replace("tiny_wide", "fragile"))
    words = ("--root", root.path, "--config-dir", conf, "--json", "exec.plugins=[fragile,idle_encoder]")
    assert study.command("register", root.prereg / "small" / "draft.yaml", *words).code == 0
    done = study.command("run", "small", *words)
    assert done.code == 4, done.err
    (failure,) = failures(study.cells(root).parent)
    assert (failure.unit, len(failure.cells), failure.error) == (first.digest, study.CELLS // 2, "RuntimeError")
    assert {str(cell["model"]) for cell in failure.cells} == {"fragile"}
    assert len(study.contents(root)) == study.CELLS // 2  # those of the other model
    assert len(list(study.cells(root).parent.glob("journal/fragile-*/*.jsonl"))) == 2
