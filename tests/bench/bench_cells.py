"""Overhead per cell in addition to its work (decoding to writing): 300 cells of a model that computes nothing."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.small import study
from vjepa_stress.records import read_cell

CELLS = 300
STRENGTHS = [k / 100 for k in range(1, 101)]


def idle_draft(levels: Sequence[float] = STRENGTHS) -> str:
    """Draft of the small study with one idle model, three perturbations and the given strengths."""
    text = study.calibration("few")
    strengths = ", ".join(f"{level:g}" for level in levels)
    design = f"""design:
  models: [idle]
  metrics: [M1, M2]
  cells:
    - {{dataset: [few], perturbation: [low_light, frame_drops, gaussian_noise], strength: [{strengths}]}}
  seed: 3
  frames: 16
  resolution: 32
"""
    # This design has no probes: its calibration, and the effects of its scenarios, are those of another perturbation.
    rest = text.split("hypotheses:")[1].replace("[identity]", "[low_light]")
    kept = "".join(line for line in rest.splitlines(keepends=True) if "[reverse]" not in line)
    return f"{text.split('design:')[0]}{design}hypotheses:{kept}"


def measure(folder: Path) -> dict[str, Any]:
    """Run 300 cells through the command line, and subtract the time of the stages that do the work."""
    root = study.new_root(folder / "root", idle_draft())
    plugins = "exec.plugins=[idle_encoder]"
    registered = study.register(root, plugins)
    assert registered.code == 0, registered.err
    started = time.perf_counter()
    done = study.run(root, plugins, "exec.workers=1")
    total = time.perf_counter() - started
    assert done.code == 0, done.err
    assert done.json["computed"] == CELLS
    work = sum(sum(read_cell(path).manifest.seconds.values()) for path in study.cells(root).iterdir())
    return {"cells": CELLS, "seconds": total, "work": work, "milliseconds_a_cell": 1000 * (total - work) / CELLS}


def measured() -> dict[str, Any]:
    """Median of three runs, after one warm-up run."""
    sys.path.insert(0, str(study.PLUGINS))
    runs = []
    for _ in range(4):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(Path(folder)))
    cost = statistics.median(run["milliseconds_a_cell"] for run in runs[1:])
    return {"milliseconds_a_cell": cost, "limit": 20.0, "runs": runs}
