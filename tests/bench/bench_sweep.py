"""Throughput of the sweep against a plain loop over cells and clips that does the same work, on one thread.

The plain loop decodes, encodes the clean clip, perturbs, encodes and measures for each cell and clip. Both run in
turn in one process; rows must be equal to the last bit. The ratio is of processor time, so that other load on the
machine has little effect. The share of the encoder is its part of the sweep's time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.small import study
from vjepa_stress.interfaces import Observation
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.prereg import freeze
from vjepa_stress.records import content_digest, read_cell
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks, ExecConfig
from vjepa_stress.sweep.commit import assemble
from vjepa_stress.sweep.computation import configure_torch
from vjepa_stress.sweep.compute import _entry
from vjepa_stress.sweep.launch import Launch
from vjepa_stress.sweep.plan import prepare
from vjepa_stress.sweep.selection import CellFilter
from vjepa_stress.sweep.worker import work

BASE = """_target_: vjepa_stress.encoders.seeded.Seeded
embed_dim: 768
depth: 12
num_heads: 12
mlp_ratio: 4.0
patch_size: 16
tubelet_size: 2
weights_seed: 0
"""
DATA = """_target_: vjepa_stress.data.procedural.Procedural
n_clips: {clips}
first_index: 10
render_seed: 23
size: 128
max_objects: 4
travel: 0.35
camera: 0.25
"""
CASES: Mapping[str, tuple[int, int, int, float, float]] = {
    # model: resolution, clips, strengths of three perturbations, least ratio, least share of the encoder
    "pocket_a": (96, 3, 6, 1.7, 0.75),
    "random_base": (256, 1, 6, 1.8, 0.92),
}


def draft(model: str, resolution: int, strengths: int) -> str:
    """A calibration study of one model: noise, frame drops and occlusion at some strengths, and the identity."""
    text = study.calibration("sweep_clips")
    levels = ", ".join(f"{(k + 1) / strengths:.3g}" for k in range(strengths))
    design = f"""design:
  models: [{model}]
  metrics: [M1, M2, M3]
  cells:
    - {{dataset: [sweep_clips], perturbation: [gaussian_noise, frame_drops, occlusion], strength: [{levels}]}}
    - {{dataset: [sweep_clips], perturbation: [identity]}}
  seed: 3
  frames: 16
  resolution: {resolution}
hypotheses:"""
    rest = text.split("hypotheses:")[1]
    kept = "".join(line for line in rest.splitlines(keepends=True) if "[reverse]" not in line)
    return text.split("design:")[0] + design + kept


def configured(folder: Path, clips: int) -> Path:
    """A configuration folder with the clips and an untrained model of base size."""
    conf = folder / "conf"
    for group, name, text in (("data", "sweep_clips", DATA.format(clips=clips)), ("model", "random_base", BASE)):
        (conf / group).mkdir(parents=True)
        (conf / group / f"{name}.yaml").write_text(text)
    return conf


def launched(folder: Path, model: str, resolution: int, clips: int, strengths: int) -> tuple[Launch, Path]:
    """A registered study with a logged launch, and its configuration folder."""
    conf, root = configured(folder, clips), study.new_root(folder / "root", draft(model, resolution, strengths))
    draft_path = root.prereg / "small" / "draft.yaml"
    registered = study.command("register", "--root", root.path, draft_path, "--config-dir", conf)
    assert registered.code == 0, registered.err
    registration = freeze.load(StudyRoot(root.path), "small")
    with ExitStack() as signs:
        launch, _ = prepare(
            root, registration, CellFilter(), Blocks(conf), ExecConfig(weights=Path("weights")), signs
        )
    assert launch is not None
    return launch, conf


def plain(launch: Launch) -> tuple[float, dict[str, str]]:
    """Processor seconds of the plain loop, and the content digest of each cell."""
    computation = launch.computation(ExecConfig(weights=Path("weights"), threads=1, device="cpu"))
    (group,) = launch.groups
    model, source = computation.model(group.model), computation.source(group.dataset)
    design = launch.design
    digests: dict[str, str] = {}
    started = time.process_time()
    for cell in group.cells:
        rows = []
        for clip in group.clips:
            sample = source._dataset.read(clip, None, design.resolution)
            video = sample.pixels.to(torch.float32).div_(255)[None]
            masks = None if sample.masks is None else sample.masks[None]
            clean = model._encode(video)
            perturbation = source._perturbations[cell.perturbation]
            seed = clip_seed(design.seed, clip.digest, cell.perturbation, cell.seed)
            perturbed = model._encode(perturbation(video, cell.strength, [seed]))
            aligned, counterpart = perturbation.align(perturbed, cell.strength)
            in_place = perturbation.correspondence == "in-place"
            seen = Observation(clean, perturbed, aligned, counterpart, in_place, masks)
            measured: dict[str, Any] = {}
            for metric in model._metrics:
                measured |= metric(replace(seen, of_clean=metric.of_clean(clean, masks)))
            rows.append({column.name: _entry(column, clip.digest, measured) for column in design.layout})
        digests[launch.names[cell]] = content_digest(rows)
    return time.process_time() - started, digests


def swept(launch: Launch) -> tuple[float, float, float, dict[str, str]]:
    """Processor seconds, seconds, seconds of the encoder, from the first clip to the last shard; content digests."""
    config = ExecConfig(weights=Path("weights"), threads=1, workers=1, device="cpu")
    started, processor = time.perf_counter(), time.process_time()
    work(launch, launch.units(), config)
    assemble(launch)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    manifests = study.contents(StudyRoot(launch.root))
    encoder = sum(read_cell(launch.cell_folder(cell)).manifest.seconds["encode"] for cell in launch.names)
    return processor, seconds, encoder, manifests


def measured() -> dict[str, Any]:
    """Medians of three rounds for the pocket model, one for base size."""
    configure_torch(1)
    results: dict[str, Any] = {}
    for name, (resolution, clips, strengths, ratio, share) in CASES.items():
        rounds = []
        for _ in range(3 if name.startswith("pocket") else 1):
            with tempfile.TemporaryDirectory() as folder:
                launch, _ = launched(Path(folder), name, resolution, clips, strengths)
                slow, expected = plain(launch)
                fast, seconds, encoder, found = swept(launch)
                assert found == expected, "the sweep and the plain loop have other rows"
                rounds.append({"plain": slow, "sweep": fast, "seconds": seconds, "encoder": encoder})
        results[name] = {
            "cells": 3 * strengths + 1,
            "clips": clips,
            "resolution": resolution,
            "ratio": statistics.median(one["plain"] / one["sweep"] for one in rounds),
            "least_ratio": ratio,
            "encoder_share": statistics.median(one["encoder"] / one["seconds"] for one in rounds),
            "least_encoder_share": share,
            "rounds": rounds,
        }
    return results
