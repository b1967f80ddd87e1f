"""Is one seed enough? The spread between five seeds of three perturbations, beside the spread between clips."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.bench_sweep import configured
from tests.small import study
from vjepa_stress.design.video import as_video
from vjepa_stress.records import read_cell
from vjepa_stress.verdict.gate import gate
from vjepa_stress.verdict.seed_spread import seed_spreads

CLIPS, SEEDS = 30, 5


def draft() -> str:
    """A study of two pocket models with five seeds of noise, frame drops and occlusion."""
    text = study.calibration("sweep_clips")
    design = f"""design:
  models: [pocket_a, pocket_d]
  metrics: [M1, M2, M3]
  cells:
    - {{dataset: [sweep_clips], perturbation: [gaussian_noise, frame_drops, occlusion], strength: [0.6],
       seed: {list(range(SEEDS))}}}
    - {{dataset: [sweep_clips], perturbation: [identity]}}
  seed: 3
  frames: 8
  resolution: 96
hypotheses:"""
    rest = text.split("hypotheses:")[1]
    kept = "".join(line for line in rest.splitlines(keepends=True) if "[reverse]" not in line)
    return text.split("design:")[0] + design + kept


def measured() -> dict[str, Any]:
    """The spread of each metric for each perturbation."""
    with tempfile.TemporaryDirectory() as folder:
        conf = configured(Path(folder), CLIPS)
        root = study.new_root(Path(folder) / "root", draft())
        path = root.prereg / "small" / "draft.yaml"
        for words in (("register", path), ("run", "small")):
            done = study.command(*words, "--root", root.path, "--config-dir", conf)
            assert done.code == 0, done.err
        evidence = gate(root, "small")
        found = seed_spreads(evidence.table, as_video(evidence.registration.document.design))
        cells = len(list(study.cells(root).iterdir()))
        assert all(read_cell(one).manifest.rows == CLIPS for one in study.cells(root).iterdir())
    return {
        "clips": CLIPS,
        "cells": cells,
        "spreads": [dataclasses.asdict(one) | {"share": one.share} for one in found],
    }
