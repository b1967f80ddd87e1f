"""Label propagation and M3: golden values, a plain implementation, closed forms, sanity on rendered clips."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vjepa_stress.data.procedural import Procedural
from vjepa_stress.encoders.pixels import patches
from vjepa_stress.interfaces import Observation, Sample
from vjepa_stress.metrics import tracking
from vjepa_stress.metrics.functional_utility import FunctionalUtility
from vjepa_stress.metrics.tracking import (
    first_labels,
    propagate_labels,
    segment,
    stretched,
    track,
)
from vjepa_stress.perturb.occlusion import Occlusion

GOLDEN = Path(__file__).parents[1] / "golden" / "c_labelprop"
CASES = json.loads((GOLDEN / "cases.json").read_text())
DAVIS: dict[str, Any] = {"context": 7, "radius": 12, "topk": 5, "temperature": 0.1}


def settings(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "context": case["n_last_frames"],
        "radius": case["radius"],
        "topk": case["topk"],
        "temperature": case["temperature"],
    }


@pytest.mark.parametrize("targets", [1, 512, 10**6])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 2e-6)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden_soft_labels(
    case: dict[str, Any], dtype: torch.dtype, tolerance: float, targets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_TARGETS", targets)
    with np.load(GOLDEN / f"{case['name']}.npz") as arrays:
        features = torch.from_numpy(arrays["features"]).to(dtype)
        first = torch.from_numpy(arrays["first_onehot"]).to(dtype)
        expected = torch.from_numpy(arrays["soft"])
    soft = propagate_labels(features, first, **settings(case))
    assert torch.equal(soft[0], first)
    assert float((soft[1:] - expected).abs().max()) <= tolerance


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden_segmentations(case: dict[str, Any]) -> None:
    size = (case["h"] * case["patch"], case["w"] * case["patch"])
    with np.load(GOLDEN / f"{case['name']}.npz") as arrays:
        features = torch.from_numpy(arrays["features"]).float()
        first, expected = torch.from_numpy(arrays["first_onehot"]).float(), arrays["seg"]
        upsampled, normalised = arrays["up_last_stride5"], arrays["norm_last_stride5"]
    soft = propagate_labels(features, first, **settings(case))
    maps = F.interpolate(soft[-1:], size=size, mode="bilinear", align_corners=False)[0]
    assert np.abs(maps[:, ::5, ::5].numpy() - upsampled).max() <= 2e-6
    defined = np.isfinite(normalised)
    assert np.abs(stretched(maps)[:, ::5, ::5].numpy() - normalised)[defined].max() <= 2e-6
    segmented = [segment(one, size).numpy().astype(np.uint8) for one in soft[1:]]
    scaled = [
        Image.fromarray(one).resize((case["out_w"], case["out_h"]), Image.Resampling.NEAREST) for one in segmented
    ]
    found = np.stack([np.asarray(one) for one in scaled])
    assert np.count_nonzero(found != expected) <= case["argmax_margin_lt_1e_4"] + 5


def test_golden_normalisation() -> None:
    with np.load(GOLDEN / "norm_mask_unit.npz") as arrays:
        given, expected = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    found = stretched(given)
    undefined = expected.isnan()
    assert float((found - expected)[~undefined].abs().max()) <= 1e-12
    # A constant positive map: DINO divides zero by zero, here it stays as it is.
    assert torch.equal(found[undefined], given[undefined])
    assert bool(undefined.any())


def plainly(features: Tensor, first: Tensor, *, context: int, radius: int, topk: int, temperature: float) -> Tensor:
    """The definition, a target at a time, in float64."""
    positions, height, width, _ = features.shape
    unit = F.normalize(features.double(), dim=-1)
    result = [first.double()]
    for t in range(1, positions):
        frames = [0, *range(max(1, t - context), t)]
        new = torch.zeros_like(result[0])
        for row in range(height):
            for column in range(width):
                affinity = torch.exp(torch.stack([unit[f] @ unit[t, row, column] for f in frames]) / temperature)
                far_row = (torch.arange(height) - row).abs() > (radius or height)
                far_column = (torch.arange(width) - column).abs() > (radius or width)
                affinity[:, far_row[:, None] | far_column] = 0
                flat = affinity.flatten()
                least = flat.sort(descending=True).values[min(topk, len(flat)) - 1]
                weights = torch.where(flat >= least * (1 - 1e-12), flat, 0.0)
                labels = torch.stack([result[f] for f in frames], 1).flatten(1)
                new[:, row, column] = labels @ (weights / weights.sum())
        result.append(new)
    return torch.stack(result)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SETTINGS: list[dict[str, Any]] = [
    DAVIS,
    DAVIS | {"context": 2, "radius": 1},
    DAVIS | {"context": 0, "radius": 2},
    DAVIS | {"context": 1, "radius": 0, "topk": 1},
    DAVIS | {"radius": 1, "topk": 30},
    DAVIS | {"radius": 0, "topk": 10**6, "temperature": 5.0},
]


@pytest.mark.parametrize("grid", [(6, 5), (1, 7), (7, 1)])
@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
def test_the_definition(chosen: dict[str, Any], grid: tuple[int, int]) -> None:
    features, first = noise(6, *grid, 9), noise(3, *grid, seed=1).softmax(0)
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-12)):
        found = propagate_labels(features.to(dtype), first.to(dtype), **chosen)
        assert float((found - plainly(features, first, **chosen)).abs().max()) <= tolerance
        torch.testing.assert_close(found.sum(1), torch.ones_like(found.sum(1)))


def frozen() -> Tensor:
    """A clip that stops: exact ties between frames."""
    clip = noise(6, 4, 5, 9)
    clip[3:] = clip[2]
    return clip


TIED = {
    "frozen": frozen(),
    "still": noise(1, 4, 5, 9).expand(6, 4, 5, 9),
    "zero": torch.zeros(6, 4, 5, 9),
    "two kinds": F.one_hot((noise(6, 4, 5) > 0).long(), 2).float(),
    "zero in places": noise(6, 4, 5, 9) * (noise(6, 4, 5, 1, seed=3) > 0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", TIED)
def test_ties_all_stay(kind: str, chosen: dict[str, Any], dtype: torch.dtype) -> None:
    first = noise(3, 4, 5, seed=1).softmax(0)
    found = propagate_labels(TIED[kind].to(dtype), first.to(dtype), **chosen)
    assert float((found - plainly(TIED[kind], first, **chosen)).abs().max()) <= 2e-6


def test_length_does_not_matter() -> None:
    features, first = noise(5, 6, 6, 12), noise(2, 6, 6, seed=1).softmax(0)
    stretch = (10 * noise(5, 6, 6, 1, seed=2)).exp()
    changed = propagate_labels(features * stretch, first, **DAVIS)
    torch.testing.assert_close(changed, propagate_labels(features, first, **DAVIS), rtol=0, atol=1e-5)


def test_half_precision_is_computed_in_single() -> None:
    features, first = noise(5, 6, 6, 12).bfloat16(), noise(2, 6, 6, seed=1).softmax(0)
    assert torch.equal(propagate_labels(features, first, **DAVIS), propagate_labels(features.float(), first, **DAVIS))


@pytest.mark.parametrize(
    "wrong", [{"context": -1}, {"radius": -1}, {"topk": 0}, {"temperature": 0.0}, {"temperature": math.nan}]
)
def test_parameters_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        propagate_labels(noise(2, 3, 3, 4), torch.ones(1, 3, 3), **DAVIS | wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_must_be_finite(value: float) -> None:
    features = noise(2, 3, 3, 4)
    features[1, 2, 2, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        propagate_labels(features, torch.ones(1, 3, 3), **DAVIS)


def test_first_labels_are_shares_of_patches() -> None:
    ids = torch.zeros(8, 8, dtype=torch.int64)
    ids[:4, :4], ids[4:6, 4:], ids[7, 7] = 3, 7, 9
    shares = first_labels(ids, (3, 7), (2, 2))
    expected = torch.tensor([[[0.0, 1.0], [1.0, 0.5]], [[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.5]]])
    assert torch.equal(shares, expected)


# M3 on rendered clips: 8 temporal positions of 24×24 patches of 8 pixels.
CLIPS = Procedural(n_clips=4, first_index=3000, render_seed=11, size=96, max_objects=3, travel=0.35, camera=0.25)
METRIC = FunctionalUtility(**DAVIS)


@pytest.fixture(scope="module")
def clips() -> list[Sample]:
    return [CLIPS.read(clip, None, 192) for clip in CLIPS.identify(None, 16)]


def majority(masks: Tensor) -> Tensor:
    """The id that most pixels of each 8×8 patch have, (T', 24, 24)."""
    cut = F.one_hot(masks[::2]).reshape(8, 24, 8, 24, 8, -1).sum((2, 4))
    return cut.argmax(-1)


def jaccard(found: Tensor, truth: Tensor, number: int) -> float:
    both, either = (found == number) & (truth == number), (found == number) | (truth == number)
    return float(both.sum() / either.sum().clamp_min(1))


def patch_scores(features: Tensor, truth: Tensor) -> list[tuple[float, float]]:
    """J of each object over all later positions at patch resolution, and what a blind guess would get."""
    kinds = F.one_hot(truth[0]).permute(2, 0, 1).float()
    found = propagate_labels(features, kinds, **DAVIS).argmax(1)[1:]
    later, scores = truth[1:], []
    for number in range(1, len(kinds)):
        part, guess = float((later == number).double().mean()), float((found == number).double().mean())
        scores.append((jaccard(found, later, number), part * guess / max(part + guess - part * guess, 1e-12)))
    return scores


def test_features_that_are_the_identity_track_perfectly(clips: list[Sample]) -> None:
    for sample in clips:
        assert sample.masks is not None
        truth = majority(sample.masks)
        features = F.one_hot(truth).float() + 0.01 * noise(8, 24, 24, int(truth.max()) + 1)
        assert all(found >= 0.95 for found, _ in patch_scores(features, truth))
        # Exactly the identity: thousands of ties, and every one of them right.
        assert all(found >= 0.95 for found, _ in patch_scores(F.one_hot(truth).float(), truth))


def test_random_features_track_at_chance(clips: list[Sample]) -> None:
    pairs = []
    for number, sample in enumerate(clips):
        assert sample.masks is not None
        pairs += patch_scores(noise(8, 24, 24, 64, seed=number), majority(sample.masks))
    found, chance = np.array(pairs).T
    assert found.max() < 0.2
    # Within the window an object is more likely near where it was: a little above a blind guess over the whole frame.
    assert abs(found.mean() - chance.mean()) < 0.05


def pixel_features(video: Tensor) -> Tensor:
    return patches(video - 0.5, 8, 2)


def test_tracking_gets_worse_as_occlusion_grows(clips: list[Sample]) -> None:
    occlusion = Occlusion(area_at_full=0.5, grey=0.5, largest_offset=0.25)
    every, scores, losses = torch.ones(24, 24, dtype=torch.bool), [], []
    for number, sample in enumerate(clips):
        assert sample.masks is not None
        video, masks = sample.pixels[None].float() / 255, sample.masks[None]
        clean = pixel_features(video)
        before = METRIC.of_clean(clean, masks)
        for strength in (0.0, 0.3, 0.6, 1.0):
            perturbed = pixel_features(occlusion(video, strength, [number]))
            measured = METRIC(Observation(clean, perturbed, perturbed, every, True, masks, before))
            (objects,) = measured["M3"].regions
            assert objects is not None
            value = float(measured["M3"].value)
            assert value == pytest.approx((np.mean(objects.J) + np.mean(objects.F)) / 2)
            assert int(measured["M3"].n) == 7 * len(objects.objects)
            scores.append(value)
            losses.append(float(measured["dM3"].value))
    table = np.reshape(scores, (len(clips), 4))
    assert all(np.diff(table.mean(0)) < 0), table
    np.testing.assert_allclose(np.reshape(losses, table.shape), table[:, :1] - table, rtol=0, atol=1e-12)
    assert not np.reshape(losses, table.shape)[:, 0].any()


def test_m3_of_identity_beats_pixels_beats_noise() -> None:
    """On the mean of twelve clips: raw pixels can win on one, because identity is per patch, not per pixel."""
    values, more = [], CLIPS.model_copy(update={"n_clips": 12})
    for clip in more.identify(None, 16):
        sample = more.read(clip, None, 192)
        assert sample.masks is not None
        identity = F.one_hot(majority(sample.masks)).float() + 0.01
        pixels = pixel_features(sample.pixels[None].float() / 255)[0]
        values.append([track(f, sample.masks, **DAVIS).value for f in (identity, pixels, noise(8, 24, 24, 64))])
    best, middle, worst = np.mean(values, axis=0)
    assert best > middle + 0.02
    assert middle > worst + 0.5


def test_where_m3_says_nothing() -> None:
    features = noise(2, 4, 6, 6, 8)
    every = torch.ones(6, 6, dtype=torch.bool)
    masks = torch.zeros(2, 8, 48, 48, dtype=torch.int64)
    masks[0, :, :20, :20] = 5
    masks[1, 1:, :20, :20] = 5  # appears too late
    for in_place, given, defined in (
        (True, masks, [True, False]),
        (False, masks, [False, False]),
        (True, None, [False, False]),
    ):
        seen = Observation(features, features, features, every, in_place=in_place, masks=given)
        measured = METRIC(seen)
        assert set(measured) == set(METRIC.columns)
        for one in measured.values():
            assert one.value.isfinite().tolist() == defined
            assert one.n.tolist() == [3 * int(d) for d in defined]
            assert one.n_non_finite.tolist() == [0, 0]
        assert [scores is not None for scores in measured["M3"].regions] == defined
    assert measured["M3"].value.dtype == torch.float64


def test_a_clip_that_is_not_finite_is_flagged_and_its_neighbour_is_not() -> None:
    features = noise(2, 4, 6, 6, 8)
    broken = features.clone()
    broken[0, 2, 3, 3, 1], broken[0, 3, 3, 3, 1] = math.nan, math.inf
    masks = torch.zeros(2, 8, 48, 48, dtype=torch.int64)
    masks[:, :, :20, :20] = 5
    every = torch.ones(6, 6, dtype=torch.bool)
    seen = Observation(features, broken, broken, every, in_place=True, masks=masks)
    for one in METRIC(seen).values():
        assert one.n_non_finite.tolist() == [2, 0]
        assert one.value.isfinite().tolist() == [False, True]


def test_the_clean_score_may_be_given() -> None:
    features, masks = noise(1, 4, 6, 6, 8), torch.zeros(1, 8, 48, 48, dtype=torch.int64)
    masks[:, :, :20, :20] = 1
    every = torch.ones(6, 6, dtype=torch.bool)
    given = METRIC.of_clean(features, masks)
    seen = Observation(features, noise(1, 4, 6, 6, 8, seed=4), features, every, in_place=True, masks=masks)
    asked = Observation(features, seen.perturbed, features, every, in_place=True, masks=masks, of_clean=given)
    assert torch.equal(METRIC(seen)["dM3"].value, METRIC(asked)["dM3"].value)
    assert float(METRIC(asked)["M3"].value + METRIC(asked)["dM3"].value) == pytest.approx(float(given))


def test_frames_that_do_not_fit_are_refused() -> None:
    for positions, frames in ((4, 7), (1, 2)):
        with pytest.raises(ValueError, match="do not divide into"):
            track(noise(positions, 4, 4, 8), torch.ones(frames, 32, 32, dtype=torch.int64), **DAVIS)
