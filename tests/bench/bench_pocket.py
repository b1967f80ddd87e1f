"""Evaluation of the pocket models against their untrained twins and raw pixels, on clips not used for training.

The clips are held-out rendered clips (`conf/data/procedural_held_out.yaml`) and clips of the two real videos. Every
difference is paired by clip, with a bootstrap over clips. Everything is computed from seeds and weights on one
thread, so that the same machine gives the same numbers.
"""

from __future__ import annotations

import functools
import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm, rankdata
from torch import Tensor

from vjepa_stress.blocks import ClipRef
from vjepa_stress.data.folder import Folder
from vjepa_stress.data.procedural import Procedural
from vjepa_stress.data.scene import Scene
from vjepa_stress.encoders.released import assemble, pixel_encoder
from vjepa_stress.encoders.seeded import Seeded
from vjepa_stress.encoders.stored import Stored
from vjepa_stress.interfaces import Features, Sample, Video
from vjepa_stress.metrics.drift import temporal_consistency
from vjepa_stress.metrics.functional_utility import FunctionalUtility
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.provenance import shipped
from vjepa_stress.sweep.bind import Blocks, strictly
from vjepa_stress.sweep.yaml_file import load_yaml
from vjepa_stress.training.pretrain import first_weights
from vjepa_stress.training.probes import (
    PENALTIES,
    fitted,
    forward_backward_error,
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
"""Folder of checkpoints that does not exist: these models ship with the package."""
FIT = 160
"""Rendered clips for fitting probes: those after the held-out clips in the same series."""
MOVING = 600
"""Rendered clips for the velocity probe: the next ones in the same series."""
GALLERY = 12
"""Number of recurring objects that the identity probe distinguishes."""
SHOTS = {"bikes.mp4": (0, 30, 76, 137, 187, 242, 250), "carphone_pristine.mp4": (0, 120)}
"""First frame of each shot of the real videos, and the end. Clips do not cross cuts: no patch continues there."""
STEPS = (1, 2)
"""Distances in frames between consecutive frames of a footage clip."""
RADIUS = 4
"""Largest displacement, in patches per temporal position, when a patch is followed through real footage."""
DRIFT_CLIPS = 8
HOW = Resampling()
CPU = torch.device("cpu")

Encode = Callable[[Video], Features]


def model(name: str) -> Encode:
    """The encoder of a size, its untrained twin (NAME_untrained), its initial weights (NAME_first), or pixels_8."""
    size = "_".join(name.split("_")[:2])
    encoder = Blocks().encoder(size)
    if isinstance(encoder, Stored) and name.endswith("_untrained"):
        encoder = Seeded(**encoder.model_dump(exclude={"file", "sha256"}), weights_seed=0)
    elif isinstance(encoder, Stored) and name.endswith("_first"):
        first = assemble(encoder.architecture, first_weights(encoder.architecture, RECIPE))
        return pixel_encoder(first, CPU, "float32", False)
    return encoder.load(MISSING, CPU, "float32", False).encode


class Gallery(Procedural):
    """Rendered clips with recurring objects, at different positions, sizes and angles in each clip."""

    kind = "dataset/pocket_gallery"
    revision = 1

    def cast(self, index: int, count: int) -> list[int]:
        """The different objects of the gallery that a clip shows."""
        return random.Random(index).sample(range(GALLERY), count)

    def scene(self, index: int, frames: int) -> Scene:
        """The scene, with the textures and shapes of objects of the gallery."""
        scene = super().scene(index, frames)
        cast = [_portrait(self, number) for number in self.cast(index, len(scene.objects))]
        pairs = zip(scene.objects, cast, strict=True)
        return replace(scene, objects=tuple(replace(layer, texture=texture) for layer, texture in pairs))

    def names(self, index: int) -> Tensor:
        """One-hot identity of each object, (positions, 1 + objects, GALLERY); zeros for the background."""
        cast = self.cast(index, len(super().scene(index, FRAMES).objects))
        known = F.one_hot(torch.tensor([0, *cast]), GALLERY).double()
        known[0] = 0
        return known.expand(FRAMES // 2, -1, -1)


@functools.cache
def _portrait(clips: Gallery, number: int) -> np.ndarray:
    """An object of the gallery: the first object of a scene whose index no clip uses."""
    texture: np.ndarray = Procedural.scene(clips, 10_000 + number, 1).objects[0].texture
    return texture


def held_out() -> tuple[Procedural, Procedural]:
    """The clips for evaluation, and the next ones for fitting."""
    clips = Blocks().dataset("procedural_held_out")
    assert isinstance(clips, Procedural)
    return clips, clips.model_copy(update={"first_index": clips.n_clips, "n_clips": FIT})


@functools.cache
def read_footage(step: int) -> list[Sample]:
    """All non-overlapping clips of the two real videos that are within one shot."""
    videos = Blocks().dataset("footage")
    assert isinstance(videos, Folder)
    sources = {clip.name.partition("#")[0]: clip.source for clip in videos.identify(None, FRAMES)}
    span = (FRAMES - 1) * step + 1
    return [
        videos.read(ClipRef.of(f"{name}#{first}", sources[name], range(first, first + span, step)), None, RESOLUTION)
        for name, cuts in SHOTS.items()
        for begin, end in pairwise(cuts)
        for first in range(begin, end - span + 1, span)
    ]


def of_patches(grid: Tensor, tubelet: int = 2, patch: int = 8) -> Tensor:
    """Most frequent object number in each patch of per-pixel numbers (T, H, W); the lower number wins ties."""
    t, h, w = grid.shape
    blocks = grid.reshape(t // tubelet, tubelet, h // patch, patch, w // patch, patch)
    votes = F.one_hot(blocks.permute(0, 2, 4, 1, 3, 5).flatten(3), 5).sum(3)
    return votes.argmax(-1)


def velocities(clips: Procedural, index: int) -> Tensor:
    """Exact velocity of each centre in patches per position: (positions, 1 + objects, 2), columns and rows."""
    scene = clips.scene(index, FRAMES)
    centres = torch.tensor(np.stack([[layer.x, layer.y] for layer in (scene.background, *scene.objects)]))
    positions = centres.reshape(-1, 2, FRAMES // 2, 2).mean(3) * (RESOLUTION / 8)
    return torch.gradient(positions, dim=2)[0].permute(2, 0, 1)


@dataclass(frozen=True)
class Rendered:
    """One rendered clip.

    Attributes:
        sample: pixels and masks.
        video: the pixels as a batch of one.
        objects: number of the object that each patch shows, 0 for the background, (positions, rows, columns).
        facts: targets of the probes for the background (0) and each object, (positions, 1 + objects, K):
            velocities, or for clips of a gallery the one-hot identity.
    """

    sample: Sample
    video: Tensor
    objects: Tensor
    facts: Tensor


def rendered(clips: Procedural) -> list[Rendered]:
    """Read all clips of a series."""
    read = []
    for number, clip in enumerate(clips.identify(None, FRAMES)):
        sample = clips.read(clip, None, RESOLUTION)
        assert sample.masks is not None
        index = clips.first_index + number
        facts = clips.names(index) if isinstance(clips, Gallery) else velocities(clips, index)
        read.append(Rendered(sample, (sample.pixels.float() / 255)[None], of_patches(sample.masks), facts))
    return read


def baselines(name: str) -> dict[str, str]:
    """The models that a size is compared with."""
    return {"untrained": f"{name}_untrained", "first": f"{name}_first", "pixels": "pixels_8"}


def against(values: dict[str, list[float]], name: str, sign: float) -> dict[str, Any]:
    """Mean of one model, and its gains over untrained twin, initial weights and pixels, paired by clip."""
    own = np.array(values[name])
    rows: dict[str, Estimate] = {"mean": bootstrap_mean(own, HOW)}
    for label, other in baselines(name).items():
        rows[f"over_{label}"] = difference(sign * own, sign * np.array(values[other]), HOW)
    n = int(np.isfinite(own).sum())
    return {label: {"value": one.value, "low": one.low, "high": one.high, "n": n} for label, one in rows.items()}


def on_footage(found: dict[str, dict[str, Any]], name: str, *steps: int) -> dict[str, Any]:
    """Mean errors of a few dependent clips (of two videos), and on how many of them each baseline is worse."""
    values = {other: np.hstack([one[f"footage_{step}"] for step in steps]) for other, one in found.items()}
    own = values[name]
    return {
        "clips": len(own),
        "mean": own.mean(),
        "torn": np.hstack([found[name][f"footage_{step}_torn"] for step in steps]).mean(),
        **{
            label: {"mean": values[other].mean(), "worse": int((own < values[other]).sum())}
            for label, other in baselines(name).items()
        },
    }


def scores(name: str) -> dict[str, Any]:
    """Scores of one model, clip by clip."""
    torch.set_num_threads(1)
    encode, (clips, fit) = model(name), series()
    features = [encode(one.video)[0] for one in clips]
    fit_features = [encode(one.video)[0] for one in fit]
    stacked = torch.stack(features)
    deviation, rank = spread_of(stacked)
    least = float(stacked.flatten(0, -2).double().std(0, correction=0).min())
    found = {
        "m3": [utility(f, one) for f, one in zip(features, clips, strict=True)],
        "which": within_clip_accuracy(features, clips, fit_features, fit),
        "figure": figure_accuracy(features, clips, fit_features, fit),
        "velocity": motion_errors(encode, fit_features, fit),
        "identity": across_clip_accuracy(encode),
        **{key: errors for step in STEPS for key, errors in footage_errors(encode, step).items()},
        "spread": {"channels": stacked.shape[-1], "deviation": deviation, "least": least, "rank": rank},
        "drift": drift(encode, clips[:DRIFT_CLIPS]) if name in SIZES else None,
    }
    print(f"{name} done", file=sys.stderr)
    return found


@functools.cache
def series() -> tuple[list[Rendered], list[Rendered]]:
    """The clips for evaluation, and those for fitting."""
    clips, fit = (rendered(one) for one in held_out())
    return clips, fit


@functools.cache
def moving() -> list[Rendered]:
    """The clips for evaluating the velocity probe."""
    _, fit = held_out()
    return rendered(fit.model_copy(update={"first_index": fit.first_index + FIT, "n_clips": MOVING}))


@functools.cache
def gallery() -> tuple[list[Rendered], list[Rendered]]:
    """Clips with recurring objects: those for evaluation, and those for fitting."""
    held, fit = held_out()
    fields = held.model_dump(exclude={"n_clips", "first_index"})
    clips, fit_clips = (
        rendered(Gallery(**fields, first_index=one.first_index, n_clips=one.n_clips)) for one in (held, fit)
    )
    return clips, fit_clips


SIDES = {"m3": 1.0, "identity": 1.0, "which": 1.0, "figure": 1.0, "velocity": -1.0}
"""The scores that are compared, and their sign: 1 where higher is better, -1 where lower is."""


def measured() -> dict[str, Any]:
    """All results, by size."""
    names = [*(f"{size}{kind}" for size in reversed(SIZES) for kind in ("", "_untrained", "_first")), "pixels_8"]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        found = dict(zip(names, pool.map(scores, names), strict=True))
    values = {what: {name: one[what] for name, one in found.items()} for what in SIDES}
    motions = of_objects([one.objects[..., None].double() for one in moving()], moving())
    still = float(np.mean([y.square().mean() for _, y in motions]))
    return {
        "sizes": {
            name: {what: against(values[what], name, sign) for what, sign in SIDES.items()}
            | {"footage": on_footage(found, name, *STEPS)}
            | {f"footage_{step}": on_footage(found, name, step) for step in STEPS}
            for name in SIZES
        },
        "controls": {
            name: {what: float(np.nanmean(values[what][name])) for what in SIDES}
            for name in names
            if name not in SIZES
        },
        "spread": {name: one["spread"] for name, one in found.items()},
        "stream": {"clips_a_second_and_core": stream_rate(), "limit": 30},
        "still": still,
        "drift": {name: found[name]["drift"] for name in SIZES},
    }


def stream_rate(clips: int = 100) -> float:
    """Training clips rendered per second of processor time."""
    started = time.process_time()
    for index in range(clips):
        training_clip(0, index, frames=RECIPE.frames, rendered=RECIPE.rendered_frames, size=RECIPE.resolution)
    return clips / (time.process_time() - started)


def utility(features: Tensor, clip: Rendered) -> float:
    """M3 of one clip."""
    metric, masks = Blocks().metric("M3"), clip.sample.masks
    assert isinstance(metric, FunctionalUtility)
    assert masks is not None
    return float(metric.of_clean(features[None], masks[None]))


def footage_errors(encode: Encode, step: int) -> dict[str, list[float]]:
    """Forward-backward error of each footage clip: patches are followed to its last position and back.

    The same error is computed on shuffled clips, whose positions come from different clips. Features that encode only
    the place of a patch and not its content have the same error on both.
    """
    features = [encode(one.pixels.float()[None] / 255)[0] for one in read_footage(step)]
    torn = [
        torch.stack([features[(k + t) % len(features)][t] for t in range(len(one))]) for k, one in enumerate(features)
    ]
    return {
        f"footage_{step}": [forward_backward_error(one, RADIUS) for one in features],
        f"footage_{step}_torn": [forward_backward_error(one, RADIUS) for one in torn],
    }


def within_clip_accuracy(
    features: list[Tensor], clips: list[Rendered], fit_features: list[Tensor], fit: list[Rendered]
) -> list[float]:
    """Accuracy of the within-clip identity probe; its penalty is the best one on other clips."""

    def accuracies(penalty: float, of: list[Tensor], clips_read: list[Rendered]) -> list[float]:
        return [identity_accuracy(f, one.objects, penalty) for f, one in zip(of, clips_read, strict=True)]

    best = max(PENALTIES, key=lambda penalty: float(np.nanmean(accuracies(penalty, fit_features[:30], fit[:30]))))
    return accuracies(best, features, clips)


def figure_accuracy(
    features: list[Tensor], clips: list[Rendered], fit_features: list[Tensor], fit: list[Rendered]
) -> list[float]:
    """Balanced accuracy of a probe fitted on other clips that separates objects from background."""

    def examples(of: list[Tensor], clips_read: list[Rendered], every: int = 1) -> list[tuple[Tensor, Tensor]]:
        pairs = [(f.flatten(0, 2), one.objects.flatten()) for f, one in zip(of, clips_read, strict=True)]
        return [(x[::every], (y[::every, None] > 0).double()) for x, y in pairs]

    probe = fitted(examples(fit_features, fit, every=4))
    found = []
    for x, y in examples(features, clips):
        # The cut is the share of patches that show an object. It is small, so that weak features do not reach 0.5.
        right = (probe(x) > probe.mean) == (y > 0.5)
        found.append(float((right[y > 0.5].double().mean() + right[y < 0.5].double().mean()) / 2))
    return found


def motion_errors(encode: Encode, fit_features: list[Tensor], fit: list[Rendered]) -> list[float]:
    """Mean squared error of objects' velocities in each clip, by a probe fitted on other clips."""
    probe, clips = fitted(of_objects(fit_features, fit)), moving()
    features = [encode(one.video)[0] for one in clips]
    return [float((probe(x) - y).square().mean()) for x, y in of_objects(features, clips)]


def across_clip_accuracy(encode: Encode) -> list[float]:
    """Accuracy in each clip of a probe fitted on other clips that identifies objects of the gallery."""
    clips, fit = gallery()
    features, fit_features = ([encode(one.video)[0] for one in of] for of in (clips, fit))
    probe = fitted(of_objects(fit_features, fit))
    return [float((probe(x).argmax(1) == y.argmax(1)).double().mean()) for x, y in of_objects(features, clips)]


def of_objects(features: list[Tensor], clips: list[Rendered]) -> list[tuple[Tensor, Tensor]]:
    """Mean features over the patches that show each object at each position, and the targets of the object."""
    found = []
    for f, one in zip(features, clips, strict=True):
        shown = [
            (f[t][where].mean(0), one.facts[t, number])
            for t in range(len(f))
            for number in range(1, one.facts.shape[1])
            if (where := one.objects[t] == number).any()
        ]
        found.append((torch.stack([x for x, _ in shown]), torch.stack([y for _, y in shown])))
    return found


def drift(encode: Encode, clips: list[Rendered]) -> dict[str, Any]:
    """M2 and dM3 by strength for each perturbation, and the parameters of a scenario."""
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
                perturbed = encode(perturb(one.video, strength, [clip_seed(0, one.sample.digest, kind)]))
                tables["M2"][row, column] = float(temporal_consistency(f, perturbed))
                tables["dM3"][row, column] = before[row] - utility(perturbed[0], one)
        found[kind] = {"trend": trend(tables["M2"], STRENGTHS, HOW).value, "means": tables["M2"].mean(0).tolist()}
        for metric, table in tables.items():
            slope, mean = np.polyfit(STRENGTHS, table.mean(0), 1)
            found[kind][metric] = {"mean": mean, "slope": slope, "sd": table.std(0, ddof=1).mean()}
            ranked = rankdata(table, axis=0)
            scores[metric].append(norm.ppf((ranked - 0.5) / len(clips)))
    stacked = {metric: np.hstack(columns) for metric, columns in scores.items()}
    within = {metric: mean_correlation(columns) for metric, columns in stacked.items()}
    same_cell = float(
        np.nanmean([np.corrcoef(x, y)[0, 1] for x, y in zip(stacked["M2"].T, stacked["dM3"].T, strict=True)])
    )
    probes = {}
    for kind in ("reverse", "hflip"):
        perturb = blocks.perturbation(kind)
        values = [
            float(temporal_consistency(f, encode(perturb(one.video, None, [0]))))
            for one, f in zip(clips, clean, strict=True)
        ]
        probes[kind] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
    identity = [float(temporal_consistency(f, encode(one.video))) for one, f in zip(clips, clean, strict=True)]
    return {
        "perturbations": found,
        "probes": probes,
        "identity": max(identity),
        "within_clip": within,
        "association": same_cell,
    }


def mean_correlation(columns: np.ndarray) -> float:
    """Mean correlation over pairs of columns; pairs with a constant column are left out."""
    return float(np.nanmean(np.corrcoef(columns.T)[np.triu_indices(columns.shape[1], 1)]))
