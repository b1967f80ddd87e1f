"""M1 and M2: how far features drift from the clean clip's, frame by frame and in their motion.

All arithmetic is in float64, one temporal position at a time, so that the cost is one pass over the features
and the result does not depend on the batch. Definitions and edge cases: `docs/metrics.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vjepa_stress.blocks import Compares
from vjepa_stress.interfaces import Features, Measurement, Metric, Observation, PerClip

Vectors = Float[Tensor, "b h w d"]
Positions = Bool[Tensor, "b h w"]


def frame_fidelity(clean: Features, perturbed: Features) -> PerClip:
    """M1: mean over positions of 1 − cos(clean, perturbed).

    Args:
        clean, perturbed: (B, T', H', W', D), same shape.

    Returns:
        (B,) float64 in [0, 2]; NaN for a clip with a non-finite feature, or where every position has a zero
        vector.
    """
    return measure_frames(clean, perturbed).value


def temporal_consistency(clean: Features, perturbed: Features) -> PerClip:
    """M2: mean over positions of 1 − cos(g_clean, g_perturbed), with the gradients g[t] = f[t+1] − f[t].

    Args:
        clean, perturbed: (B, T', H', W', D), same shape and dtype, T' ≥ 2.

    Returns:
        (B,) float64 in [0, 2]; NaN for a clip with a non-finite feature, or where no position has a gradient
        on both sides.

    Raises:
        ValueError: for T' = 1, where no gradient exists.
    """
    return measure_gradients(clean, perturbed).value


def measure_frames(
    clean: Features, perturbed: Features, counterpart: Bool[Tensor, "h w"] | None = None
) -> Measurement:
    """M1 with its counts; `counterpart` limits it to some positions (H', W')."""
    pairs = (
        (x, y, x.norm(dim=-1) == 0, y.norm(dim=-1) == 0)
        for x, y in ((clean[:, t].double(), perturbed[:, t].double()) for t in range(clean.shape[1]))
    )
    return _mean_distance(clean, pairs, counterpart)


def measure_gradients(
    clean: Features, perturbed: Features, counterpart: Bool[Tensor, "h w"] | None = None
) -> Measurement:
    """M2 with its counts; `counterpart` limits it to some positions (H', W')."""
    if clean.shape[1] < 2:
        raise ValueError(f"temporal consistency needs two temporal positions or more, found {clean.shape[1]}")
    gradients = ((*_gradient(clean, t), *_gradient(perturbed, t)) for t in range(clean.shape[1] - 1))
    return _mean_distance(clean, ((x, y, x0, y0) for x, x0, y, y0 in gradients), counterpart)


def _gradient(features: Features, t: int) -> tuple[Vectors, Positions]:
    """The gradient at t, and where it is zero to the precision of the features' own type."""
    before, after = features[:, t].double(), features[:, t + 1].double()
    gradient = after - before
    scale = torch.maximum(before.norm(dim=-1), after.norm(dim=-1))
    return gradient, gradient.norm(dim=-1) <= 8 * torch.finfo(features.dtype).eps * scale


def _mean_distance(
    like: Features,
    pairs: Iterable[tuple[Vectors, Vectors, Positions, Positions]],
    counterpart: Bool[Tensor, "h w"] | None,
) -> Measurement:
    batch, device = like.shape[0], like.device
    total = torch.zeros(batch, dtype=torch.float64, device=device)
    counts = torch.zeros(4, batch, dtype=torch.int64, device=device)
    for x, y, x_zero, y_zero in pairs:
        seen = torch.ones_like(x_zero) if counterpart is None else counterpart.expand_as(x_zero)
        finite = x.isfinite().all(-1) & y.isfinite().all(-1)
        cosine = (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))
        defined = seen & finite & ~x_zero & ~y_zero
        total += torch.where(defined, 1 - cosine.clamp(-1, 1), 0.0).sum((1, 2))
        groups = (seen, seen & finite & x_zero & y_zero, seen & finite & (x_zero ^ y_zero), seen & ~finite)
        counts += torch.stack([group.sum((1, 2)) for group in groups])
    n, both_zero, one_zero, non_finite = counts
    defined_positions = n - both_zero - one_zero - non_finite
    value = torch.where((defined_positions > 0) & (non_finite == 0), total / defined_positions, torch.nan)
    return Measurement(value, n, both_zero, one_zero, non_finite)


class FrameFidelity(Metric):
    """M1 and its aligned twin M1a."""

    kind: ClassVar[str] = "metric/frame_fidelity"
    revision: ClassVar[int] = 1
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    compares: ClassVar[Compares] = "positions"
    columns: ClassVar[tuple[str, ...]] = ("M1", "M1a")
    aligned: ClassVar[Mapping[str, str]] = {"M1": "M1a"}

    def __call__(self, seen: Observation) -> dict[str, Measurement]:
        """Measure raw and aligned; where nothing moves they are the same number."""
        raw = measure_frames(seen.clean, seen.perturbed)
        aligned = raw if seen.in_place else measure_frames(seen.clean, seen.aligned, seen.counterpart)
        return {"M1": raw, "M1a": aligned}


class TemporalConsistency(Metric):
    """M2 and its aligned twin M2a."""

    kind: ClassVar[str] = "metric/temporal_consistency"
    revision: ClassVar[int] = 1
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    compares: ClassVar[Compares] = "positions"
    columns: ClassVar[tuple[str, ...]] = ("M2", "M2a")
    aligned: ClassVar[Mapping[str, str]] = {"M2": "M2a"}

    def __call__(self, seen: Observation) -> dict[str, Measurement]:
        """Measure raw and aligned; where nothing moves they are the same number."""
        raw = measure_gradients(seen.clean, seen.perturbed)
        aligned = raw if seen.in_place else measure_gradients(seen.clean, seen.aligned, seen.counterpart)
        return {"M2": raw, "M2a": aligned}
