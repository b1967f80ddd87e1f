"""Breakdown of the sweep on a GPU, stage by stage, for a model of base size at 384 px with random weights.

Each stage is timed with the device synchronised, and again as in a run, where stages overlap. Without a CUDA device
there is nothing to measure.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from tests.bench.bench_sweep import launched
from vjepa_stress.sweep.bind import ExecConfig
from vjepa_stress.sweep.commit import assemble
from vjepa_stress.sweep.worker import work

RESOLUTION, CLIPS, STRENGTHS = 384, 4, 10
FLOP_PER_CLIP = 1.6e12
"""Floating-point operations of one encoding at base size and 384 px."""


def _stages(launch: Any, config: ExecConfig) -> dict[str, float]:
    """Seconds per encoding of each stage, one after the other, with the device synchronised."""
    computation = launch.computation(config)
    (group,) = launch.groups
    model, source = computation.model(group.model), computation.source(group.dataset)
    planned = computation.planned[group.model, group.dataset]
    seconds: dict[str, float] = defaultdict(float)
    count = 0
    for warm in (False, True):
        for clip in group.clips[:2]:
            started = time.perf_counter()
            prepared = source.prepare(clip, group.cells, planned)
            decoded = time.perf_counter()
            video = prepared.sample.pixels.to(computation.device).float().div_(255)[None]
            torch.cuda.synchronize()
            moved = time.perf_counter()
            batch = video.expand(computation.batch, -1, -1, -1, -1).contiguous()
            torch.cuda.synchronize()
            before = time.perf_counter()
            model._encode(batch)
            torch.cuda.synchronize()
            encoded = time.perf_counter()
            for finish in model.measure(prepared):
                finish()
            torch.cuda.synchronize()
            everything = time.perf_counter()
            if warm:
                count += 1
                seconds["decode and draw"] += (decoded - started) / len(group.cells)
                seconds["move"] += (moved - decoded) / len(group.cells)
                seconds["encode"] += (encoded - before) / computation.batch
                seconds["all on the device"] += (everything - encoded) / len(group.cells)
    return {stage: value / count for stage, value in seconds.items()}


def measured() -> dict[str, Any]:
    """Seconds per encoding by stage, encodings per second of a run, and the share of the encoder."""
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device on this machine: nothing was measured")
    config = ExecConfig(weights=Path("weights"), device="cuda")
    runs: list[dict[str, Any]] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            launch, _ = launched(Path(folder), "random_base", RESOLUTION, CLIPS, STRENGTHS)
            stages = _stages(launch, config)
            started = time.perf_counter()
            work(launch, launch.units(), config)
            assemble(launch)
            seconds = time.perf_counter() - started
            encodings = CLIPS * (len(launch.cells) + 1)
            runs.append({"seconds": seconds, "encodings": encodings, "stages": stages})
    speed = statistics.median(run["encodings"] / run["seconds"] for run in runs)
    encode = statistics.median(run["stages"]["encode"] for run in runs)
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "encodings_per_second": speed,
        "seconds_per_encoding": encode,
        "encoder_share": encode * speed,
        "tflop_per_second": FLOP_PER_CLIP / encode / 1e12,
        "runs": runs,
    }
