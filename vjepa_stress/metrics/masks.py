"""J and F: how well a predicted region agrees with the true one, as DAVIS-2017 defines them.

Source: Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation (arXiv:1704.00675), section 3; J
and F are those of Perazzi et al. (CVPR 2016), section 5. Everything counts pixels, so results are ratios of integers.
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
    """What DAVIS reports of an object's values over frames.

    Attributes:
        mean: over frames, those without a value left out.
        recall: share of frames above 0.5.
        decay: mean of the first quarter minus mean of the last; positive where tracking gets worse.
    """

    mean: float
    recall: float
    decay: float


def region_similarity(pred: Mask, truth: Mask, void: Mask | None = None) -> float:
    """J: pixels in both regions over pixels in either.

    Args:
        pred, truth: (H, W) booleans.
        void: (H, W) pixels that do not count.

    Returns:
        In [0, 1]; 1 where both regions are empty.
    """
    return float(_overlap(_seen(pred, void)[None], _seen(truth, void)[None])[0])


def contour_accuracy(pred: Mask, truth: Mask, void: Mask | None = None, *, tolerance: float | int = 0.008) -> float:
    """F: harmonic mean of the precision and recall of boundary pixels, matched within a small distance.

    Args:
        pred, truth: (H, W) booleans.
        void: (H, W) pixels that do not count.
        tolerance: matching distance, as a part of the image's diagonal; from 1 on, in pixels.

    Returns:
        In [0, 1]; 1 where neither region has a boundary, 0 where only one has.
    """
    return float(_contours(_seen(pred, void)[None], _seen(truth, void)[None], tolerance)[0])


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
        found, wanted = pred == number, truth == number
        region[row] = _overlap(found, wanted)
        contour[row] = _contours(found, wanted, tolerance)
    return region, contour


def summarise(values: Float64[np.ndarray, " t"]) -> Summary:
    """Mean, recall and decay of an object's J or F over frames; NaN marks a frame without a value.

    The quarters of the decay are cut at the rounded points of four equal steps from the first frame to the last;
    neighbours share the frame they meet at.
    """
    cuts = [math.floor((len(values) - 1) * k / 4 + 0.5) for k in range(5)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN, as it should be
        first, last = np.nanmean(values[: cuts[1] + 1]), np.nanmean(values[cuts[3] :])
        return Summary(float(np.nanmean(values)), float(np.mean(values > 0.5)), float(first - last))


def boundary(masks: Masks) -> Masks:
    """Pixels that differ from their neighbour to the right, below, or right below.

    At the last row and column neighbours outside are left out, so that a mask over the whole frame has no boundary.
    """
    found = np.zeros_like(masks)
    found[:, :, :-1] |= masks[:, :, :-1] != masks[:, :, 1:]
    found[:, :-1] |= masks[:, :-1] != masks[:, 1:]
    found[:, :-1, :-1] |= masks[:, :-1, :-1] != masks[:, 1:, 1:]
    return found


def _seen(mask: Mask, void: Mask | None) -> Mask:
    return mask if void is None else mask & ~void


def _overlap(pred: Masks, truth: Masks) -> PerMask:
    both = np.count_nonzero(pred & truth, axis=(1, 2))
    either = np.count_nonzero(pred | truth, axis=(1, 2))
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


def _contours(pred: Masks, truth: Masks, tolerance: float | int) -> PerMask:
    height, width = truth.shape[1:]
    radius = math.ceil(tolerance if tolerance >= 1 else tolerance * math.hypot(height, width))
    values = np.empty(len(truth))
    for n, (found, wanted) in enumerate(zip(boundary(pred), boundary(truth), strict=True)):
        ours, theirs = np.argwhere(found), np.argwhere(wanted)
        if not len(ours) or not len(theirs):
            values[n] = float(len(ours) == len(theirs))
            continue
        # Beyond the box around both boundaries nothing can match.
        low, high = np.minimum(ours.min(0), theirs.min(0)), np.maximum(ours.max(0), theirs.max(0)) + 1
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        found, wanted = found[box], wanted[box]
        precision = np.count_nonzero(found & _widened(wanted, radius)) / len(ours)
        recall = np.count_nonzero(wanted & _widened(found, radius)) / len(theirs)
        values[n] = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return values


def _widened(mask: Mask, radius: int) -> Mask:
    """Pixels within `radius` of a pixel of the mask: a disc, put together from rows of equal offset."""
    height, width = mask.shape
    # counted[:, x] is the number of pixels left of x: any in a span is one subtraction.
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
