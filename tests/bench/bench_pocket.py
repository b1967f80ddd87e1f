"""What the pocket models learned, beside their untrained twins and raw pixels, on clips they were not trained on.

Held-out rendered clips (`conf/data/procedural_held_out.yaml`), and the two real videos. Every difference is paired by
clip, with a bootstrap over clips. Everything here is computed anew from seeds and weights, on one thread, so that it
gives the same numbers on the same machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm, rankdata
from torch import Tensor

from vjepa_stress.data.folder import Folder
from vjepa_stress.data.procedural import Procedural
from vjepa_stress.encoders.released import assemble, pixel_encoder
from vjepa_stress.encoders.seeded import Seeded
from vjepa_stress.encoders.stored import Stored
from vjepa_stress.interfaces import Features, Sample, Video
from vjepa_stress.metrics.drift import temporal_consistency
from vjepa_stress.metrics.tracking import FunctionalUtility
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.provenance import shipped
from vjepa_stress.sweep.bind import Blocks, load_yaml, strictly
from vjepa_stress.training.pretrain import first_weights
from vjepa_stress.training.probes import (
    PENALTIES,
    forward_backward_error,
    held_out_errors,
    identity_accuracy,
    spread_of,
)
from vjepa_stress.training.recipe import Recipe
from vjepa_stress.training.stream import training_clip
from vjepa_stress.verdict.estimate import Estimate, Resampling, bootstrap_mean, difference, trend

SIZES = ("pocket_a", "pocket_b", "pocket_c", "pocket_d")
FRAMES, RESOLUTION = 16, 96
TIER_1 = ("gaussian_noise", "motion_blur", "low_light", "frame_drops", "occlusion")
STRENGTHS = tuple(k / 10 for k in range(1, 11))
RECIPE = strictly(Recipe, load_yaml(shipped("conf") / "training" / "pocket.yaml"), "training")
MISSING = Path("nowhere")
"""No folder of checkpoints: these models ship with the package."""
FIT = 80
"""Rendered clips after the held-out ones, of the same series, that the velocity probe is fitted on."""
PER_VIDEO = 3
RADIUS = 4
"""Patches that a patch may move from one position to the next when it is followed through real footage."""
DRIFT_CLIPS = 12
HOW = Resampling()
CPU = torch.device("cpu")

Encode = Callable[[Video], Features]


def models() -> dict[str, Encode]:
    """The four sizes; for each its untrained twin, and the weights that its training began from; and raw pixels."""
    blocks, loaded = Blocks(), {}
    for name in SIZES:
        trained = blocks.encoder(name)
        assert isinstance(trained, Stored)
        twin = Seeded(**trained.model_dump(exclude={"file", "sha256"}), weights_seed=0)
        for key, encoder in ((name, trained), (f"{name}_untrained", twin)):
            loaded[key] = encoder.load(MISSING, CPU, "float32", False).encode
        first = assemble(trained.architecture, first_weights(trained.architecture, RECIPE))
        loaded[f"{name}_first"] = pixel_encoder(first, CPU, "float32", False)
    loaded["pixels_8"] = blocks.encoder("pixels_8").load(MISSING, CPU, "float32", False).encode
    return loaded


def held_out() -> tuple[Procedural, Procedural]:
    """The clips to evaluate on, and those after them to fit on."""
    clips = Blocks().dataset("procedural_held_out")
    assert isinstance(clips, Procedural)
    return clips, clips.model_copy(update={"first_index": clips.n_clips, "n_clips": FIT})


def read_footage() -> list[Sample]:
    """Clips of the two real videos."""
    clips = Blocks().dataset("footage")
    assert isinstance(clips, Folder)
    clips = clips.model_copy(update={"n_clips": 2 * PER_VIDEO, "clips_per_video": PER_VIDEO})
    return [clips.read(clip, None, RESOLUTION) for clip in clips.identify(None, FRAMES)]


def of_patches(grid: Tensor, tubelet: int = 2, patch: int = 8) -> Tensor:
    """Per-pixel object numbers (T, H, W) to the number that most pixels of each patch's block have; ties go low."""
    t, h, w = grid.shape
    blocks = grid.reshape(t // tubelet, tubelet, h // patch, patch, w // patch, patch)
    votes = F.one_hot(blocks.permute(0, 2, 4, 1, 3, 5).flatten(3), 5).sum(3)
    return votes.argmax(-1)


def velocities(clips: Procedural, index: int) -> Tensor:
    """Exact motion of each object's centre, in patches a position: (positions, 1 + objects, 2), columns and rows."""
    scene = clips.scene(index, FRAMES)
    centres = torch.tensor(np.stack([[layer.x, layer.y] for layer in (scene.background, *scene.objects)]))
    positions = centres.reshape(-1, 2, FRAMES // 2, 2).mean(3) * (RESOLUTION / 8)
    return torch.gradient(positions, dim=2)[0].permute(2, 0, 1)


@dataclass(frozen=True)
class Seen:
    """One rendered clip: its pixels, and for each patch the object it shows and how that moves."""

    sample: Sample
    video: Tensor
    objects: Tensor
    motion: Tensor


def rendered(clips: Procedural) -> list[Seen]:
    """Read all clips of a series."""
    found = []
    for number, clip in enumerate(clips.identify(None, FRAMES)):
        sample = clips.read(clip, None, RESOLUTION)
        assert sample.masks is not None
        objects = of_patches(sample.masks)
        motion = velocities(clips, clips.first_index + number)
        at = torch.arange(len(objects))[:, None, None].expand_as(objects)
        found.append(Seen(sample, (sample.pixels.float() / 255)[None], objects, motion[at, objects]))
    return found


def against(values: dict[str, list[float]], name: str, sign: float) -> dict[str, Any]:
    """Mean of one model, and by how much it is better than twin, first weights and pixels, clip by clip."""
    own = np.array(values[name])
    rows: dict[str, Estimate] = {"mean": bootstrap_mean(own, HOW)}
    for label, other in (
        ("over_untrained", f"{name}_untrained"),
        ("over_first", f"{name}_first"),
        ("over_pixels", "pixels_8"),
    ):
        rows[label] = difference(sign * own, sign * np.array(values[other]), HOW)
    known = int(np.isfinite(own).sum())
    return {label: {"value": one.value, "low": one.low, "high": one.high, "n": known} for label, one in rows.items()}


def beside(values: dict[str, list[float]], name: str) -> dict[str, Any]:
    """Errors of a few clips that lean on each other (two videos): means, and how often each other model is worse."""
    own = np.array(values[name])
    others = {"untrained": f"{name}_untrained", "first": f"{name}_first", "pixels": "pixels_8"}
    return {
        "clips": len(own),
        "mean": own.mean(),
        **{
            label: {"mean": np.mean(values[other]), "worse": int((own < values[other]).sum())}
            for label, other in others.items()
        },
    }


def measured() -> dict[str, Any]:
    """Everything, by size."""
    torch.set_num_threads(1)
    clips, more = (rendered(one) for one in held_out())
    real = [sample.pixels.float()[None] / 255 for sample in read_footage()]
    m3: dict[str, list[float]] = {}
    identity: dict[str, list[float]] = {}
    velocity: dict[str, list[float]] = {}
    home: dict[str, list[float]] = {}
    spread: dict[str, dict[str, float]] = {}
    drifts: dict[str, Any] = {}
    for name, encode in models().items():
        features = [encode(one.video)[0] for one in clips]
        others = [encode(one.video)[0] for one in more]
        m3[name] = [utility(f, one) for f, one in zip(features, clips, strict=True)]
        identity[name] = identities(features, clips, others, more)
        velocity[name] = held_out_errors(moving(others, more), moving(features, clips)).tolist()
        home[name] = [forward_backward_error(encode(video)[0], RADIUS) for video in real]
        together = torch.stack(features)
        deviation, rank = spread_of(together)
        least = float(together.flatten(0, -2).double().std(0, correction=0).min())
        spread[name] = {"channels": together.shape[-1], "deviation": deviation, "least": least, "rank": rank}
        if name in SIZES:
            drifts[name] = drift(encode, clips[:DRIFT_CLIPS])
        print(f"{name}: M3 {np.mean(m3[name]):.3f}", file=sys.stderr)
    scale = float(np.mean([y.square().mean() for _, y in moving([f.motion for f in clips], clips)]))
    sides = (("m3", m3, 1.0), ("identity", identity, 1.0), ("velocity", velocity, -1.0))
    return {
        "sizes": {
            name: {what: against(values, name, sign) for what, values, sign in sides}
            | {"footage": beside(home, name)}
            for name in SIZES
        },
        "controls": {
            name: {what: float(np.nanmean(values[name])) for what, values, _ in sides}
            for name in m3
            if name not in SIZES
        },
        "spread": spread,
        "stream": {"clips_a_second_and_core": stream_rate(), "limit": 60},
        "still": scale,
        "drift": drifts,
    }


def stream_rate(clips: int = 100) -> float:
    """Clips that training can render in a second of processor time, as it renders them."""
    started = time.process_time()
    for index in range(clips):
        training_clip(0, index, frames=RECIPE.frames, rendered=RECIPE.rendered_frames, size=RECIPE.resolution)
    return clips / (time.process_time() - started)


def utility(features: Tensor, clip: Seen) -> float:
    """M3 of one clip."""
    metric, masks = Blocks().metric("M3"), clip.sample.masks
    assert isinstance(metric, FunctionalUtility)
    assert masks is not None
    return float(metric.of_clean(features[None], masks[None]))


def identities(features: list[Tensor], clips: list[Seen], others: list[Tensor], more: list[Seen]) -> list[float]:
    """Accuracy of the identity probe in each clip; its penalty is the best one of other clips."""

    def at(penalty: float, of: list[Tensor], seen: list[Seen]) -> list[float]:
        return [identity_accuracy(f, one.objects, penalty) for f, one in zip(of, seen, strict=True)]

    best = max(PENALTIES, key=lambda penalty: float(np.nanmean(at(penalty, others[:30], more[:30]))))
    return at(best, features, clips)


def moving(features: list[Tensor], clips: list[Seen]) -> list[tuple[Tensor, Tensor]]:
    """Features of the patches that show objects, and how these move."""
    return [(f[one.objects > 0], one.motion[one.objects > 0]) for f, one in zip(features, clips, strict=True)]


def drift(encode: Encode, clips: list[Seen]) -> dict[str, Any]:
    """M2 and loss of tracking by strength for each perturbation, and what a scenario needs to know of them."""
    blocks = Blocks()
    clean = [encode(one.video) for one in clips]
    before = [utility(f[0], one) for f, one in zip(clean, clips, strict=True)]
    found: dict[str, Any] = {}
    scores: dict[str, list[np.ndarray]] = {"M2": [], "dM3": []}
    for kind in TIER_1:
        perturb = blocks.perturbation(kind)
        tables = {metric: np.empty((len(clips), len(STRENGTHS))) for metric in scores}
        for row, (one, f) in enumerate(zip(clips, clean, strict=True)):
            for column, strength in enumerate(STRENGTHS):
                seen = encode(perturb(one.video, strength, [clip_seed(0, one.sample.digest, kind)]))
                tables["M2"][row, column] = float(temporal_consistency(f, seen))
                tables["dM3"][row, column] = before[row] - utility(seen[0], one)
        found[kind] = {"trend": trend(tables["M2"], STRENGTHS, HOW).value, "means": tables["M2"].mean(0).tolist()}
        for metric, table in tables.items():
            slope, mean = np.polyfit(STRENGTHS, table.mean(0), 1)
            found[kind][metric] = {"mean": mean, "slope": slope, "sd": table.std(0, ddof=1).mean()}
            ranked = rankdata(table, axis=0)
            scores[metric].append(norm.ppf((ranked - 0.5) / len(clips)))
    together = {metric: np.hstack(columns) for metric, columns in scores.items()}
    within = {metric: mean_correlation(columns) for metric, columns in together.items()}
    same_cell = float(
        np.nanmean([np.corrcoef(x, y)[0, 1] for x, y in zip(together["M2"].T, together["dM3"].T, strict=True)])
    )
    probes = {}
    for kind in ("reverse", "hflip"):
        perturb = blocks.perturbation(kind)
        values = [
            float(temporal_consistency(f, encode(perturb(one.video, None, [0]))))
            for one, f in zip(clips, clean, strict=True)
        ]
        probes[kind] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
    again = [float(temporal_consistency(f, encode(one.video))) for one, f in zip(clips, clean, strict=True)]
    return {
        "perturbations": found,
        "probes": probes,
        "identity": max(again),
        "within_clip": within,
        "association": same_cell,
    }


def mean_correlation(columns: np.ndarray) -> float:
    """Mean correlation of any two columns; one that does not vary has none."""
    return float(np.nanmean(np.corrcoef(columns.T)[np.triu_indices(columns.shape[1], 1)]))
