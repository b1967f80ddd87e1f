"""The metric M3: what tracking by matching features loses under a perturbation. `tracking.py` has its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from vjepa_stress.blocks import Compares
from vjepa_stress.interfaces import Features, Measurement, Metric, Observation, PerClip, RegionScores
from vjepa_stress.metrics.tracking import followed

BatchMasks = Int64[Tensor, "b frames height width"]


class FunctionalUtility(Metric):
    """M3: tracking accuracy, mean of J and F of propagated object masks; dM3: its loss, M3(clean) − M3(perturbed).

    Undefined, with n = 0, for clips without masks or without objects in the first frame, and for perturbations that
    move content, because the masks are those of the clean clip.

    Attributes:
        context: number of earlier temporal positions that give labels, in addition to the first.
        radius: radius of the window in patches; 0 for no limit.
        topk: number of sources that a position takes its labels from.
        temperature: temperature of the weights; above 0.
    """

    kind: ClassVar[str] = "metric/functional_utility"
    revision: ClassVar[int] = 1
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    compares: ClassVar[Compares] = "regions"
    columns: ClassVar[tuple[str, ...]] = ("M3", "dM3")

    context: int = Field(ge=0)
    radius: int = Field(ge=0)
    topk: int = Field(ge=1)
    temperature: float = Field(gt=0, allow_inf_nan=False)

    def of_clean(self, clean: Features, masks: BatchMasks | None) -> PerClip:
        """M3 of the clean clips; NaN where it is undefined."""
        return self._follow(clean, masks)()[0].value

    def __call__(self, observation: Observation) -> dict[str, Measurement]:
        """Track objects with the perturbed features; compute M3 of the clean clips if it is not given."""
        return self.measure(observation)()

    def measure(self, observation: Observation) -> Callable[[], dict[str, Measurement]]:
        """Follow the objects on the device of the features; the returned function scores them on the CPU."""
        masks = observation.masks if observation.in_place else None
        perturbed = self._follow(observation.perturbed, masks)
        clean = observation.of_clean
        if clean is None:
            clean = self.of_clean(observation.clean, masks)

        def score() -> dict[str, Measurement]:
            measurement, scores = perturbed()
            loss = replace(measurement, value=clean - measurement.value)
            return {"M3": replace(measurement, regions=scores), "dM3": loss}

        return score

    def _follow(
        self, features: Features, masks: BatchMasks | None
    ) -> Callable[[], tuple[Measurement, tuple[RegionScores | None, ...]]]:
        lengths = torch.linalg.vector_norm(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
        broken: list[int] = (~lengths.isfinite()).flatten(1).sum(1).tolist()
        paths = [
            None if masks is None or broken[clip] else followed(of_clip, masks[clip], **self.model_dump())
            for clip, of_clip in enumerate(features)
        ]

        def score() -> tuple[Measurement, tuple[RegionScores | None, ...]]:
            tracked = [None if path is None else path.scored() for path in paths]
            values = torch.tensor([torch.nan if one is None else one.value for one in tracked], dtype=torch.float64)
            counts = [(one.region.size if one else 0, 0, 0, bad) for one, bad in zip(tracked, broken, strict=True)]
            n, both_zero, one_zero, non_finite = torch.tensor(counts, dtype=torch.int64).reshape(-1, 4).T
            scores = tuple(one.scores if one and one.objects else None for one in tracked)
            return Measurement(values, n, both_zero, one_zero, non_finite), scores

        return score
