"""What Hydra, planning and bookkeeping cost for a cell."""

import sys
from pathlib import Path

import pytest

from tests.bench.bench_cells import measure
from tests.small import study


def test_a_cell_costs_less_than_twenty_milliseconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(study.PLUGINS))
    measure(tmp_path / "warm")  # imports and caches are no cost of a cell
    found = measure(tmp_path / "measured")
    assert found["milliseconds_a_cell"] < 20, found


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
