"""Time and memory of label propagation, compared with a frame-by-frame implementation.

24×24 patches, 8 temporal positions, 3 objects and the background, DAVIS settings, float32, one CPU thread. The other
implementation processes one frame at a time: it stacks and normalises the context features, computes the affinity of
every pair of patches, sets those outside the window to zero, keeps the largest and multiplies them with the labels.
Both run in turn, so that other load on the machine affects both, and medians of processor time are compared. Memory
is the peak of each above the memory before, in a separate process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_stress.metrics.tracking import propagate_labels

SIDE, POSITIONS, OBJECTS = 24, 8, 3
CHANNELS = (48, 192, 384, 768)
"""Channels of a pocket model, of the released `base`, and two sizes in between."""
CONTEXT, RADIUS, TOPK, TEMPERATURE = 7, 12, 5, 0.1


def frame_by_frame(features: Tensor, first: Tensor) -> Tensor:
    """Compute the full affinity of each frame, then mask it."""
    positions, height, width, _ = features.shape
    count = height * width
    row, column = torch.arange(count) // width, torch.arange(count) % width
    window = ((row[:, None] - row).abs() <= RADIUS) & ((column[:, None] - column).abs() <= RADIUS)
    window_weights = window.float()
    stored = [frame.reshape(count, -1).T.contiguous() for frame in features]
    labels = [first.flatten(1)]
    for t in range(1, positions):
        context = [0, *range(max(1, t - CONTEXT), t)]
        sources = F.normalize(torch.stack([stored[i] for i in context]), dim=1)
        targets = F.normalize(stored[t].T, dim=1).expand(len(context), -1, -1)
        affinity = torch.exp(torch.bmm(targets, sources) / TEMPERATURE) * window_weights
        affinity = affinity.transpose(1, 2).reshape(-1, count)
        least = affinity.topk(TOPK, dim=0).values[-1]
        affinity[affinity < least] = 0
        affinity = affinity / affinity.sum(0, keepdim=True)
        labels.append(torch.cat([labels[i] for i in context], dim=1) @ affinity)
    return torch.stack(labels).view(positions, -1, height, width)


def banded(features: Tensor, first: Tensor) -> Tensor:
    """The implementation of the metric."""
    return propagate_labels(features, first, context=CONTEXT, radius=RADIUS, topk=TOPK, temperature=TEMPERATURE)


RUNS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"frame_by_frame": frame_by_frame, "banded": banded}


def inputs(channels: int) -> tuple[Tensor, Tensor]:
    """Random features and soft labels."""
    draws = torch.Generator().manual_seed(0)
    features = torch.randn(POSITIONS, SIDE, SIDE, channels, generator=draws)
    return features, torch.rand(1 + OBJECTS, SIDE, SIDE, generator=draws).softmax(0)


def seconds(channels: int, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each run, by implementation."""
    torch.set_num_threads(1)
    features, first = inputs(channels)
    found: dict[str, list[float]] = {name: [] for name in RUNS}
    torch.testing.assert_close(banded(features, first), frame_by_frame(features, first), rtol=0, atol=2e-6)
    for _ in range(rounds):
        for name, run in RUNS.items():
            start = time.process_time()
            run(features, first)
            found[name].append(time.process_time() - start)
    return found


def peak(name: str, channels: int) -> float:
    """Peak memory of one run above its inputs, in mebibytes, measured in a separate process."""
    command = [sys.executable, "-m", "tests.bench.bench_tracking", name, str(channels)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _print_peak(name: str, channels: int) -> None:
    torch.set_num_threads(1)
    small = torch.rand(3, 4, 4, 8), torch.rand(2, 4, 4)
    RUNS[name](*small)  # warm-up: imports and memory of libraries do not count
    features, first = inputs(channels)
    # Writing 5 to this file resets the peak memory in Linux.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    RUNS[name](features, first)
    print((_status("VmHWM") - before) / 1024)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measured(rounds: int = 15) -> dict[str, Any]:
    """Medians, ratios and peaks for each number of channels."""
    found = {}
    for channels in CHANNELS:
        times = seconds(channels, rounds)
        median = {name: statistics.median(values) for name, values in times.items()}
        mebibytes = {name: peak(name, channels) for name in RUNS}
        found[str(channels)] = {
            "speedup": median["frame_by_frame"] / median["banded"],
            "seconds": median,
            "mebibytes": mebibytes,
            "all_seconds": times,
        }
        own, reference = median["banded"], median["frame_by_frame"]
        print(
            f"{channels:5} channels   {reference:.3f} s, {mebibytes['frame_by_frame']:.0f} MiB frame by frame   "
            f"{own:.3f} s, {mebibytes['banded']:.0f} MiB banded   speed-up {reference / own:.2f}",
            file=sys.stderr,
        )
    return {"channels": found, "limit": 2, "rounds": rounds}


if __name__ == "__main__":  # started by `peak`
    _print_peak(sys.argv[1], int(sys.argv[2]))
