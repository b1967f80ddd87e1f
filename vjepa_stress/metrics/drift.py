"""M1 and M2: drift of features from those of the clean clip, by position and by change over time.

All arithmetic is in float64, one temporal position at a time: one pass over the features, with a result that does not
depend on the batch. Definitions and edge cases: `docs/metrics.md`.
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
        (B,) float64 in [0, 2]; NaN for a clip with a non-finite feature, or with a zero vector at every position.
    """
    return measure_frames(clean, perturbed).value


def temporal_consistency(clean: Features, perturbed: Features) -> PerClip:
    """M2: mean over positions of 1 − cos(g_clean, g_perturbed), with the gradients g[t] = f[t+1] − f[t].

    Args:
        clean, perturbed: (B, T', H', W', D), same shape and dtype, T' ≥ 2.

    Returns:
        (B,) float64 in [0, 2]; NaN for a clip with a non-finite feature, or if no position has a non-zero gradient in
        both clips.

    Raises:
        ValueError: for T' = 1, because there are no gradients.
    """
    return measure_gradients(clean, perturbed).value


def measure_frames(
    clean: Features, perturbed: Features, counterpart: Bool[Tensor, "h w"] | None = None
) -> Measurement:
    """M1 with its counts; `counterpart` restricts it to some positions (H', W')."""
    pairs = (
        (x, y, x.norm(dim=-1) == 0, y.norm(dim=-1) == 0)
        for x, y in ((clean[:, t].double(), perturbed[:, t].double()) for t in range(clean.shape[1]))
    )
    return _mean_distance(clean, pairs, counterpart)


def measure_gradients(
    clean: Features, perturbed: Features, counterpart: Bool[Tensor, "h w"] | None = None
) -> Measurement:
    """M2 with its counts; `counterpart` restricts it to some positions (H', W')."""
    if clean.shape[1] < 2:
        raise ValueError(f"temporal consistency needs two temporal positions or more, found {clean.shape[1]}")
    gradients = ((*_gradient(clean, t), *_gradient(perturbed, t)) for t in range(clean.shape[1] - 1))
    return _mean_distance(clean, ((x, y, x0, y0) for x, x0, y, y0 in gradients), counterpart)


def _gradient(features: Features, t: int) -> tuple[Vectors, Positions]:
    """The gradient at t, and where it is zero within the precision of the features' dtype."""
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
        compared = torch.ones_like(x_zero) if counterpart is None else counterpart.expand_as(x_zero)
        finite = x.isfinite().all(-1) & y.isfinite().all(-1)
        cosine = (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))
        defined = compared & finite & ~x_zero & ~y_zero
        total += torch.where(defined, 1 - cosine.clamp(-1, 1), 0.0).sum((1, 2))
        groups = (
            compared,
            compared & finite & x_zero & y_zero,
            compared & finite & (x_zero ^ y_zero),
            compared & ~finite,
        )
        counts += torch.stack([group.sum((1, 2)) for group in groups])
    n, both_zero, one_zero, non_finite = counts
    defined_positions = n - both_zero - one_zero - non_finite
    value = torch.where((defined_positions > 0) & (non_finite == 0), total / defined_positions, torch.nan)
    return Measurement(value, n, both_zero, one_zero, non_finite)


class FrameFidelity(Metric):
    """M1: drift of features, the mean of 1 − cosine over positions; M1a: the same after mapping positions back."""

    kind: ClassVar[str] = "metric/frame_fidelity"
    revision: ClassVar[int] = 1
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    compares: ClassVar[Compares] = "positions"
    columns: ClassVar[tuple[str, ...]] = ("M1", "M1a")
    aligned: ClassVar[Mapping[str, str]] = {"M1": "M1a"}

    def __call__(self, observation: Observation) -> dict[str, Measurement]:
        """Compute M1 and M1a; they are equal if the perturbation leaves content in place."""
        clean = observation.clean
        raw = aligned = measure_frames(clean, observation.perturbed)
        if not observation.in_place:
            aligned = measure_frames(clean, observation.aligned, observation.counterpart)
        return {"M1": raw, "M1a": aligned}


class TemporalConsistency(Metric):
    """M2: drift of the features' change over time, as M1 of temporal gradients; M2a: after mapping positions back."""

    kind: ClassVar[str] = "metric/temporal_consistency"
    revision: ClassVar[int] = 1
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    compares: ClassVar[Compares] = "positions"
    columns: ClassVar[tuple[str, ...]] = ("M2", "M2a")
    aligned: ClassVar[Mapping[str, str]] = {"M2": "M2a"}

    def __call__(self, observation: Observation) -> dict[str, Measurement]:
        """Compute M2 and M2a; they are equal if the perturbation leaves content in place."""
        clean = observation.clean
        raw = aligned = measure_gradients(clean, observation.perturbed)
        if not observation.in_place:
            aligned = measure_gradients(clean, observation.aligned, observation.counterpart)
        return {"M2": raw, "M2a": aligned}
