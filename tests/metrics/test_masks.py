"""J and F against the numbers of the official DAVIS-2017 evaluation, and against their definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from vjepa_stress.metrics.masks import (
    boundary,
    contour_accuracy,
    region_similarity,
    score_objects,
    summarise,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "b_davis"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
SEQUENCES: dict[str, Any] = EXPECTED["sequences"]
UNIT = json.loads((GOLDEN / "unit_expected.json").read_text())
EXACT = 1e-12

Official = dict[str, tuple[np.ndarray, np.ndarray]]


def ids(kind: str, name: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted((GOLDEN / kind / name).glob("*.png"))])


@pytest.fixture(scope="module")
def scores() -> Official:
    """J and F of every object and frame, void turned into background as the official semi-supervised run does."""
    found: Official = {}
    for name in SEQUENCES:
        truth, pred = ids("gt", name), ids("pred", name)
        truth = np.where(truth == 255, 0, truth)
        region, contour = score_objects(pred, truth, range(1, int(truth[0].max()) + 1))
        found |= {f"{name}_{k + 1}": (region[k], contour[k]) for k in range(len(region))}
    return found


def test_every_object_in_every_frame(scores: Official) -> None:
    wanted = {f"{name}_{k}": v for name, entry in SEQUENCES.items() for k, v in entry["objects"].items()}
    assert set(scores) == set(wanted)
    for name, (region, contour) in scores.items():
        np.testing.assert_allclose(region, wanted[name]["J"], rtol=0, atol=EXACT, err_msg=name)
        np.testing.assert_allclose(contour, wanted[name]["F"], rtol=0, atol=EXACT, err_msg=name)
        for values, key in ((region, "J_all_frames_MRD"), (contour, "F_all_frames_MRD")):
            np.testing.assert_allclose(summarise(values), wanted[name][key], rtol=0, atol=EXACT, err_msg=name)


def test_the_official_table(scores: Official) -> None:
    """The official run leaves out the first and the last frame; its table averages over objects."""
    table = {}
    for name, (region, contour) in scores.items():
        j, f = summarise(region[1:-1]), summarise(contour[1:-1])
        table[name] = [*j, *f]
        keys = ("J_M", "J_R", "J_D", "F_M", "F_R", "F_D")
        wanted = [EXPECTED["per_object"][name][key] for key in keys]
        np.testing.assert_allclose(table[name], wanted, rtol=0, atol=EXACT, err_msg=name)
    means = np.mean(list(table.values()), axis=0)
    names = ("J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
    np.testing.assert_allclose(means, [EXPECTED["global"][name] for name in names], rtol=0, atol=EXACT)
    assert (means[0] + means[3]) / 2 == pytest.approx(EXPECTED["global"]["J&F-Mean"], abs=EXACT)


def test_void_pixels_left_out() -> None:
    truth, pred = ids("gt", "edge_void255"), ids("pred", "edge_void255")
    for number, entry in SEQUENCES["edge_void255"]["objects"].items():
        for t, (found, wanted) in enumerate(zip(pred, truth, strict=True)):
            masks = found == int(number), wanted == int(number), wanted == 255
            assert region_similarity(*masks) == pytest.approx(entry["J_void_excluded"][t], abs=EXACT)
            assert contour_accuracy(*masks) == pytest.approx(entry["F_void_excluded"][t], abs=EXACT)


def unpacked(archive: Any, case: dict[str, Any], kind: str) -> np.ndarray:
    height, width = case["shape"]
    bits = np.unpackbits(archive[f"{case['id']:03d}_{kind}"])[: height * width]
    return bits.reshape(height, width).astype(bool)


@pytest.mark.parametrize("case", UNIT["cases"], ids=lambda case: case["name"])
def test_single_masks(case: dict[str, Any]) -> None:
    with np.load(GOLDEN / "unit_masks.npz") as archive:
        truth, pred = (unpacked(archive, case, kind) for kind in ("gt", "pred"))
        void = unpacked(archive, case, "void") if case["void"] else None
        edge = unpacked(archive, case, "gt_boundary")
    assert np.array_equal(boundary(truth[None])[0], edge)
    assert region_similarity(pred, truth, void) == pytest.approx(case["J"], abs=EXACT)
    found = contour_accuracy(pred, truth, void, tolerance=case["bound_th"])
    assert found == pytest.approx(case["F"], abs=EXACT)


@pytest.mark.parametrize("case", UNIT["statistics"], ids=lambda case: f"{case['n']} frames")
def test_statistics(case: dict[str, Any]) -> None:
    values = np.array([math.nan if value is None else value for value in case["values"]])
    found = summarise(values)
    assert (found.mean, found.recall) == pytest.approx((case["M"], case["R"]), abs=EXACT)
    if case["n"] <= 256:  # the reference keeps frame numbers in eight bits; beyond that it is wrong
        assert found.decay == pytest.approx(case["D"], abs=EXACT)


def test_a_frame_without_value_leaves_the_means() -> None:
    assert all(math.isnan(value) for value in summarise(np.array([math.nan]))[::2])
    assert summarise(np.array([math.nan, 1.0, 1.0, 0.0])).recall == 0.5


def disc(radius: int) -> np.ndarray:
    line = np.arange(-radius, radius + 1)
    inside: np.ndarray = line**2 + line[:, None] ** 2 <= radius**2
    return inside


@pytest.mark.parametrize("seed", range(20))
def test_matching_within_a_disc_is_dilation(seed: int) -> None:
    """Precision and recall from scipy's dilation, on masks of any density and shape."""
    draws = np.random.default_rng(seed)
    height, width = draws.integers(1, 40, 2)
    density, radius = draws.uniform(0.01, 0.6), int(draws.integers(1, 9))
    pred, truth = draws.random((2, height, width)) < density
    ours, theirs = boundary(np.stack([pred, truth]))
    if not ours.any() or not theirs.any():
        expected = float(ours.any() == theirs.any())
    else:
        precision = (ours & ndimage.binary_dilation(theirs, disc(radius))).sum() / ours.sum()
        recall = (theirs & ndimage.binary_dilation(ours, disc(radius))).sum() / theirs.sum()
        total = precision + recall
        expected = 2 * precision * recall / total if total else 0.0
    assert contour_accuracy(pred, truth, tolerance=radius) == pytest.approx(expected, abs=EXACT)


def test_both_are_symmetric_and_perfect_on_equals() -> None:
    a, b = np.zeros((2, 60, 80), bool)
    a[10:40, 20:50], b[14:44, 15:45] = True, True
    for score in (region_similarity, contour_accuracy):
        assert score(a, b) == score(b, a)
        assert score(a, a) == 1.0
        assert 0 < score(a, b) < 1


def test_masks_must_be_booleans_of_one_shape() -> None:
    with pytest.raises(Exception, match=r"[Tt]ype"):
        region_similarity(np.zeros((4, 4)), np.zeros((4, 4)))
    with pytest.raises(Exception, match=r"[Tt]ype"):
        contour_accuracy(np.zeros((4, 4), bool), np.zeros((4, 5), bool))
