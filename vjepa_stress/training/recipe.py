"""Everything that decides how a model is trained, beside its architecture."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Recipe(BaseModel):
    """A training run. The same recipe, architecture and code give the same weights on one machine: on its processor,
    with one thread, and the same versions of torch and numpy.

    Attributes:
        seed: decides initial weights, clips and masks.
        residual_scale: what attention and MLP of each block add at first, in units of the untrained twin's.
        steps: optimiser steps.
        clips: clips a step.
        together: clips that are encoded at once and share their masks; divides `clips`.
        resolution: pixels a side.
        frames: frames a clip, cut from a longer one at its own speed.
        rendered_frames: frames that each clip is rendered with.
        long_from: part of the steps after which clips keep all rendered frames, so that the model has seen as many
            positions in time as it will be asked for; 1 for never.
        learning_rate: peak of AdamW's rate.
        warmup: part of the steps in which the rate grows to its peak; afterwards it falls as half a cosine.
        last_rate: the rate at the end, as a part of the peak.
        weight_decay: of matrices, from the first step towards the end.
        momentum: of the teacher's moving average, from the first step towards the end.
        gradient_norm: longer gradients are scaled to this.
        predictor_dim: channels of the predictor.
        predictor_depth: its blocks.
        predictor_heads: its attention heads.
        context_weight: λ, weight of the loss on visible tokens, once grown.
        context_from: part of the steps at which λ begins to grow from 0.
        context_to: part of the steps at which it is there.
        redundancy_weight: of the term that keeps channels from saying the same; V-JEPA 2.1 has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(ge=0, lt=2**53)
    residual_scale: float = Field(gt=0, le=10)
    steps: int = Field(ge=1)
    clips: int = Field(ge=1)
    together: int = Field(ge=1)
    resolution: int = Field(ge=32)
    frames: int = Field(ge=2)
    rendered_frames: int = Field(ge=2)
    long_from: float = Field(ge=0, le=1)
    learning_rate: float = Field(gt=0, le=10)
    warmup: float = Field(ge=0, le=1)
    last_rate: float = Field(ge=0, le=1)
    weight_decay: tuple[float, float]
    momentum: tuple[float, float]
    gradient_norm: float = Field(gt=0)
    predictor_dim: int = Field(ge=6)
    predictor_depth: int = Field(ge=1)
    predictor_heads: int = Field(ge=1)
    context_weight: float = Field(ge=0, le=1000)
    context_from: float = Field(ge=0, le=1)
    context_to: float = Field(ge=0, le=1)
    redundancy_weight: float = Field(ge=0, le=1000)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.clips % self.together:
            raise ValueError(f"{self.together} clips together do not divide {self.clips} clips")
        head, left = divmod(self.predictor_dim, self.predictor_heads)
        if left or head % 2 or head < 6:
            found = f"{self.predictor_dim} channels of the predictor for {self.predictor_heads} heads"
            raise ValueError(f"{found}: expected an even number of channels a head, 6 or more")
        if self.frames > self.rendered_frames:
            raise ValueError(f"{self.frames} frames cannot be cut from {self.rendered_frames}")
        if not 0 <= min(self.momentum) <= max(self.momentum) < 1:
            raise ValueError(f"momentum {self.momentum}: expected numbers in [0, 1)")
        if not 0 <= min(self.weight_decay) <= max(self.weight_decay) <= 10:
            raise ValueError(f"weight decay {self.weight_decay}: expected numbers from 0 to 10")
        if self.context_from > self.context_to:
            raise ValueError(f"context_from {self.context_from} is after context_to {self.context_to}")
        return self

    def frames_at(self, step: int) -> int:
        """Frames of the clips of one step."""
        return self.rendered_frames if step >= self.long_from * self.steps else self.frames

    def rate_at(self, step: int) -> float:
        """Learning rate of one step."""
        warm = self.warmup * self.steps
        if step < warm:
            return self.learning_rate * min(1.0, (step + 1) / warm)
        gone = (step - warm) / max(1.0, self.steps - warm)
        return self.learning_rate * (self.last_rate + (1 - self.last_rate) * 0.5 * (1 + math.cos(math.pi * gone)))

    def decay_at(self, step: int) -> float:
        """Weight decay of one step."""
        return _between(self.weight_decay, step / self.steps)

    def momentum_at(self, step: int) -> float:
        """Momentum of the teacher at one step."""
        return _between(self.momentum, step / self.steps)

    def context_at(self, step: int) -> float:
        """λ at one step."""
        gone, low, high = step / self.steps, self.context_from, self.context_to
        grown = float(gone >= high) if low == high else min(1.0, max(0.0, (gone - low) / (high - low)))
        return self.context_weight * grown


def _between(ends: tuple[float, float], part: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * part
