"""Time of M1, M2 and M3 for one clip, relative to the encoder's.

Base size, 384 px, 16 frames (8 × 24 × 24 positions of 768 channels), random features, masks of 3 objects, float32,
one CPU thread. The clean clip's features and its M3 are precomputed, as in a sweep: a cell adds one forward pass of
the perturbed clip, and the metrics. Medians of processor time. Everything runs in turn, so that other load on the
machine affects all measurements.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vjepa_stress.encoders.released import SIZES
from vjepa_stress.encoders.vjepa21 import VJEPA21
from vjepa_stress.interfaces import Metric, Observation
from vjepa_stress.metrics.drift import FrameFidelity, TemporalConsistency
from vjepa_stress.metrics.functional_utility import FunctionalUtility

PIXELS, FRAMES, SIDE, POSITIONS, CHANNELS = 384, 16, 24, 8, 768
METRICS: dict[str, Metric] = {
    "M1": FrameFidelity(),
    "M2": TemporalConsistency(),
    "M3": FunctionalUtility(context=7, radius=12, topk=5, temperature=0.1),
}


def discs() -> Tensor:
    """Masks of three moving discs, (1, frames, height, width)."""
    row, column = torch.arange(PIXELS)[:, None], torch.arange(PIXELS)
    masks = torch.zeros(1, FRAMES, PIXELS, PIXELS, dtype=torch.int64)
    for frame in range(FRAMES):
        for number, (y, x, radius) in enumerate([(100, 100, 60), (250, 150, 40), (200, 290, 75)], start=1):
            inside = (row - y - 3 * frame).square() + (column - x + 2 * frame).square() <= radius**2
            masks[0, frame][inside] = number
    return masks


def observation() -> Observation:
    """Random features of a clip, and the same with noise."""
    draws = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, POSITIONS, SIDE, SIDE, CHANNELS, generator=draws)
    masks, compared = discs(), torch.ones(SIDE, SIDE, dtype=torch.bool)
    clean_m3 = METRICS["M3"].of_clean(clean, masks)
    return Observation(clean, clean + noise, clean + noise, compared, True, masks, clean_m3)


def measure(rounds: int, forwards: int) -> dict[str, list[float]]:
    """Processor seconds of each run, for the encoder and each metric."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = VJEPA21(SIZES["base"]).eval().requires_grad_(False)
    video, observed = torch.rand(1, 3, FRAMES, PIXELS, PIXELS), observation()
    runs: dict[str, Callable[[], object]] = {name: functools.partial(one, observed) for name, one in METRICS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ("encoder", *runs)}

    def timed(name: str, run: Callable[[], object]) -> None:
        start = time.process_time()
        run()
        seconds[name].append(time.process_time() - start)

    with torch.inference_mode():
        for run in runs.values():  # warm-up: work that is done once does not count
            run()
        for turn in range(forwards):
            timed("encoder", lambda: model(video))
            for _ in range(rounds):
                for name, run in runs.items():
                    timed(name, run)
            print(f"round {turn + 1} of {forwards}", file=sys.stderr)
    return seconds


def measured(rounds: int = 5, forwards: int = 3) -> dict[str, Any]:
    """Shares of the time of a clip, and the measured seconds."""
    seconds = measure(rounds, forwards)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    total = sum(median.values())
    shares = {name: median[name] / total for name in METRICS}
    return {
        "shares": shares,
        "share": sum(shares.values()),
        "limit": 0.03,
        "median_seconds": median,
        "seconds": seconds,
        "torch": torch.__version__,
    }
