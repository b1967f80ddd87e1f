"""What Hydra, planning and bookkeeping do for a cell; `python -m tests.bench cells` measures how long it takes."""

import cProfile
import os
import pstats
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.bench.bench_cells import STRENGTHS, idle_draft
from tests.small import study
from vjepa_stress.provenance import PACKAGE, code_state


def work(folder: Path, strengths: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Calls of this package's functions, and syncs, of a run with three cells a strength and an idle model."""
    root = study.new_root(folder, idle_draft(STRENGTHS[:strengths]))
    plugins = "exec.plugins=[idle_encoder]"
    registered = study.register(root, plugins)
    assert registered.code == 0, registered.err
    synced, sync, profile = [], os.fsync, cProfile.Profile()

    def watched(handle: int) -> None:
        synced.append(handle)
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", watched)
        done = profile.runcall(study.run, root, "-m", plugins)
    assert done.code == 0, done.err
    assert done.json["computed"] == 3 * strengths
    entries = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    # Generator expressions are left out: they run once a character of a time, whose digits differ.
    own = [entry[1] for (file, _, name), entry in entries if Path(file).is_relative_to(PACKAGE) and name[0] != "<"]
    return sum(own), len(synced)


@pytest.mark.usefixtures("lean")  # imports and fills caches, which are not part of the cost of a cell
def test_the_work_for_a_cell_does_not_grow_with_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(study.PLUGINS))
    code_state(("idle_encoder",))  # computed once a process
    found = [work(tmp_path / str(strengths), strengths, monkeypatch) for strengths in (4, 8, 12)]
    (first_calls, first_syncs), (more_calls, more_syncs) = ((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(found))
    assert first_syncs == more_syncs
    assert 0 < first_syncs <= 12 * 6  # for twelve cells more: shard, manifest, folders
    assert first_calls > 12
    assert more_calls == pytest.approx(first_calls, rel=0.02)


def test_a_module_that_was_not_named_as_a_plugin_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(study.PLUGINS))
    monkeypatch.delitem(sys.modules, "idle_encoder", raising=False)
    root = study.new_root(tmp_path / "root", (study.HERE / "draft.yaml").read_text().replace("tiny_wide", "idle"))
    done = study.register(root)
    assert done.code == 2
    assert "exec.plugins" in done.err
    assert "idle_encoder" not in sys.modules
