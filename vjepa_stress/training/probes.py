"""Probes of features in closed form. No network is trained, which could learn what the encoder did not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

PENALTIES = tuple(10.0**k for k in range(-3, 5))
"""Ridge penalties tried, in units of the features' mean variance."""


@dataclass(frozen=True)
class Ridge:
    """A linear map with an intercept, fitted by penalised least squares: W = (XᵀX + λI)⁻¹XᵀY of centred X and Y."""

    weights: Float[Tensor, "d k"]
    centre: Float[Tensor, " d"]
    mean: Float[Tensor, " k"]

    @classmethod
    def fit(cls, x: Float[Tensor, "n d"], y: Float[Tensor, "n k"], penalty: float) -> Ridge:
        """Fit in float64.

        Args:
            x: features.
            y: targets.
            penalty: λ / n, in units of the mean variance of a feature; above 0.
        """
        rows, targets = x.double(), y.double()
        centre, mean = rows.mean(0), targets.mean(0)
        rows = rows - centre
        gram = rows.T @ rows / len(rows)
        scale = gram.diagonal().mean().clamp_min(1e-30)
        gram.diagonal().add_(penalty * scale)
        return cls(torch.linalg.solve(gram, rows.T @ (targets - mean) / len(rows)), centre, mean)

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Predict."""
        return (x.double() - self.centre) @ self.weights + self.mean


def fitted(clips: Sequence[tuple[Tensor, Tensor]]) -> Ridge:
    """A ridge probe fitted to all clips, with the penalty that is best on the last quarter of the clips.

    Args:
        clips: (features (n, d), targets (n, k)) of each clip; at least two clips.
    """
    cut = max(1, len(clips) * 3 // 4)
    first, last = _stacked(clips[:cut]), _stacked(clips[cut:])
    tried = {p: float((Ridge.fit(*first, p)(last[0]) - last[1]).square().mean()) for p in PENALTIES}
    return Ridge.fit(*_stacked(clips), min(tried, key=tried.__getitem__))


def _stacked(clips: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([x for x, _ in clips]), torch.cat([y for _, y in clips])


def identity_accuracy(features: Float[Tensor, "t h w d"], objects: Int64[Tensor, "t h w"], penalty: float) -> float:
    """Accuracy of a ridge probe, fitted to the first half of a clip, on the objects of patches in the second half.

    Args:
        features: features of one clip.
        objects: id of the object in each patch, 0 for the background.
        penalty: as in `Ridge.fit`.

    Returns:
        Balanced accuracy: mean over the classes (objects and background) that are in both halves of the share of
        their patches that are classified correctly; NaN if there are fewer than two such classes.
    """
    half = len(features) // 2
    early, late = features[:half].flatten(0, 2), features[half:].flatten(0, 2)
    was, now = objects[:half].flatten(), objects[half:].flatten()
    kinds = sorted(set(was.tolist()) & set(now.tolist()))
    if len(kinds) < 2:
        return math.nan
    known = torch.isin(was, torch.tensor(kinds))
    one_hot = torch.stack([was[known] == k for k in kinds], dim=1).double()
    predicted = torch.tensor(kinds)[Ridge.fit(early[known], one_hot, penalty)(late).argmax(1)]
    return sum(float((predicted[now == k] == k).double().mean()) for k in kinds) / len(kinds)


def forward_backward_error(features: Float[Tensor, "t h w d"], radius: int) -> float:
    """Track each patch to the last temporal position and back by its most similar neighbour; measure the distance.

    Args:
        features: features of one clip, at least two temporal positions.
        radius: largest movement of a patch from one temporal position to the next, in patches.

    Returns:
        Mean distance between start and end, in patches. It is 0 if every patch returns to its start, which also
        happens when features encode the position of a patch and not its content. Ties go to the lowest index.

    Source: forward-backward error, Kalal, Mikolajczyk and Matas, 2010.
    """
    count, height, width, _ = features.shape
    tokens = F.normalize(features.double().flatten(1, 2), dim=-1)
    rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    near = ((rows[:, None] - rows).abs() <= radius) & ((columns[:, None] - columns).abs() <= radius)
    at = start = torch.arange(height * width)
    path = [*range(count), *reversed(range(count - 1))]
    for now, then in pairwise(path):
        closeness = (tokens[now][at] @ tokens[then].T).masked_fill(~near[at], -math.inf)
        at = closeness.argmax(1)
    return float(torch.hypot((rows[at] - rows[start]).double(), (columns[at] - columns[start]).double()).mean())


def spread_of(features: Tensor) -> tuple[float, float]:
    """Spread and effective rank of features (…, D): a collapsed encoder has a spread near 0 or a rank near 1.

    Returns:
        The mean standard deviation of a channel, and the effective rank: exp of the entropy of the
        covariance's normalised eigenvalues (Roy and Vetterli, 2007).
    """
    rows = features.reshape(-1, features.shape[-1]).double()
    centred = rows - rows.mean(0)
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / len(rows)).clamp_min(0)
    parts = eigenvalues / eigenvalues.sum().clamp_min(1e-300)
    entropy = -(parts * parts.clamp_min(1e-300).log()).sum()
    return float(centred.square().mean(0).sqrt().mean()), float(entropy.exp())
