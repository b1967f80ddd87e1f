"""J and F: agreement of a predicted region with the true region, as defined by DAVIS-2017.

Source: Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation (arXiv:1704.00675), section 3; J and
F are those of Perazzi et al. (CVPR 2016), section 5. All quantities are counts of pixels, so results are ratios of
integers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Integer

Mask = Bool[np.ndarray, "h w"]
Masks = Bool[np.ndarray, "n h w"]
PerMask = Float64[np.ndarray, " n"]
PerObject = Float64[np.ndarray, "objects t"]
ObjectIds = Integer[np.ndarray, "t h w"]


class Summary(NamedTuple):
    """DAVIS summary of an object's values over frames.

    Attributes:
        mean: mean over the frames that have a value.
        recall: share of frames with a value above 0.5.
        decay: mean of the first quarter minus mean of the last quarter; positive if tracking gets worse.
    """

    mean: float
    recall: float
    decay: float


def region_similarity(pred: Mask, truth: Mask, void: Mask | None = None) -> float:
    """J: number of pixels in both regions, divided by the number of pixels in either region.

    Args:
        pred, truth: (H, W) booleans.
        void: (H, W) pixels that do not count.

    Returns:
        In [0, 1]; 1 if both regions are empty.
    """
    return float(_overlap(_without(pred, void)[None], _without(truth, void)[None])[0])


def contour_accuracy(pred: Mask, truth: Mask, void: Mask | None = None, *, tolerance: float | int = 0.008) -> float:
    """F: harmonic mean of precision and recall of boundary pixels, matched within a small distance.

    Args:
        pred, truth: (H, W) booleans.
        void: (H, W) pixels that do not count.
        tolerance: matching distance, as a fraction of the image's diagonal if below 1, otherwise in pixels.

    Returns:
        In [0, 1]; 1 if neither region has a boundary, 0 if only one has.
    """
    return float(_contours(_without(pred, void)[None], _without(truth, void)[None], tolerance)[0])


def score_objects(
    pred: ObjectIds, truth: ObjectIds, objects: Sequence[int], *, tolerance: float | int = 0.008
) -> tuple[PerObject, PerObject]:
    """J and F of every object in every frame.

    Args:
        pred, truth: (T, H, W) object ids, same shape.
        objects: ids to score.
        tolerance: as in `contour_accuracy`.

    Returns:
        J and F, each (objects, T) in [0, 1].
    """
    region, contour = np.empty((2, len(objects), len(truth)))
    for row, number in enumerate(objects):
        predicted, true = pred == number, truth == number
        region[row] = _overlap(predicted, true)
        contour[row] = _contours(predicted, true, tolerance)
    return region, contour


def summarise(values: Float64[np.ndarray, " t"]) -> Summary:
    """Mean, recall and decay of an object's J or F over frames; NaN marks a frame without a value.

    The quarters of the decay end at the rounded points of four equal steps from the first frame to the last; adjacent
    quarters share a frame.
    """
    cuts = [math.floor((len(values) - 1) * k / 4 + 0.5) for k in range(5)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no values is NaN, as intended
        first, last = np.nanmean(values[: cuts[1] + 1]), np.nanmean(values[cuts[3] :])
        return Summary(float(np.nanmean(values)), float(np.mean(values > 0.5)), float(first - last))


def boundary(masks: Masks) -> Masks:
    """Pixels that differ from their neighbour to the right, below, or diagonally right below.

    Pixels of the last row and column have no neighbours outside the frame, so a mask of the whole frame has no
    boundary.
    """
    found = np.zeros_like(masks)
    found[:, :, :-1] |= masks[:, :, :-1] != masks[:, :, 1:]
    found[:, :-1] |= masks[:, :-1] != masks[:, 1:]
    found[:, :-1, :-1] |= masks[:, :-1, :-1] != masks[:, 1:, 1:]
    return found


def _without(mask: Mask, void: Mask | None) -> Mask:
    return mask if void is None else mask & ~void


def _overlap(pred: Masks, truth: Masks) -> PerMask:
    both = np.count_nonzero(pred & truth, axis=(1, 2))
    either = np.count_nonzero(pred | truth, axis=(1, 2))
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


def _contours(pred: Masks, truth: Masks, tolerance: float | int) -> PerMask:
    height, width = truth.shape[1:]
    radius = math.ceil(tolerance if tolerance >= 1 else tolerance * math.hypot(height, width))
    values = np.empty(len(truth))
    for n, (predicted, true) in enumerate(zip(boundary(pred), boundary(truth), strict=True)):
        in_pred, in_truth = np.argwhere(predicted), np.argwhere(true)
        if not len(in_pred) or not len(in_truth):
            values[n] = float(len(in_pred) == len(in_truth))
            continue
        # No pixel outside the bounding box of both boundaries can match.
        low, high = np.minimum(in_pred.min(0), in_truth.min(0)), np.maximum(in_pred.max(0), in_truth.max(0)) + 1
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        predicted, true = predicted[box], true[box]
        precision = np.count_nonzero(predicted & _widened(true, radius)) / len(in_pred)
        recall = np.count_nonzero(true & _widened(predicted, radius)) / len(in_truth)
        values[n] = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return values


def _widened(mask: Mask, radius: int) -> Mask:
    """Pixels within `radius` of a pixel of the mask: dilation by a disc, row offset by row offset."""
    height, width = mask.shape
    # counted[:, x] is the number of mask pixels left of x; the number in a span is one subtraction.
    counted = np.zeros((height, width + 2 * radius + 1), np.int32)
    np.cumsum(mask, axis=1, out=counted[:, radius + 1 : radius + 1 + width])
    counted[:, radius + 1 + width :] = counted[:, radius + width, None]
    near = np.zeros_like(mask)
    for offset in range(min(radius, height - 1) + 1):
        reach = math.isqrt(radius * radius - offset * offset)
        left, right = radius - reach, radius + reach + 1
        span = counted[:, right : right + width] > counted[:, left : left + width]
        near[offset:] |= span[: height - offset]
        near[: height - offset] |= span[offset:]
    return near
