"""The training recipe: everything that determines a training run, except the architecture."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Recipe(BaseModel):
    """A training recipe.

    The same recipe, architecture and code give the same weights on the CPU of one machine, with one thread and the
    same versions of torch and numpy.

    Attributes:
        seed: seed of initial weights, clips and masks.
        residual_scale: initial scale of the residual branches of each block, relative to the untrained twin.
        steps: number of optimiser steps.
        clips: clips per step.
        together: clips per batch; clips of a batch share their masks. Divides `clips`.
        resolution: height and width of clips in pixels.
        frames: frames per clip, consecutive frames of a longer clip.
        rendered_frames: frames of each rendered clip.
        long_from: fraction of the steps after which clips keep all rendered frames, so that training covers as many
            temporal positions as evaluation; 1 for never.
        learning_rate: peak of AdamW's learning rate.
        warmup: fraction of the steps with a linearly increasing learning rate; afterwards it follows half a cosine.
        last_rate: final learning rate, as a fraction of the peak.
        weight_decay: weight decay of matrices, at the first step and at the end.
        momentum: momentum of the teacher's moving average, at the first step and at the end.
        gradient_norm: gradients with a larger norm are scaled to this norm.
        predictor_dim: channels of the predictor.
        predictor_depth: number of its blocks.
        predictor_heads: number of its attention heads.
        context_weight: final value of λ, the weight of the loss on visible tokens.
        context_from: fraction of the steps at which λ starts to increase from 0.
        context_to: fraction of the steps at which λ reaches its final value.
        redundancy_weight: weight of the term against redundant channels; V-JEPA 2.1 does not have this term.
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
            raise ValueError(f"together {self.together} does not divide clips {self.clips}")
        head, left = divmod(self.predictor_dim, self.predictor_heads)
        if left or head % 2 or head < 6:
            found = f"predictor_dim {self.predictor_dim} with predictor_heads {self.predictor_heads}"
            raise ValueError(f"{found}: expected an even number of channels per head, 6 or more")
        if self.frames > self.rendered_frames:
            raise ValueError(f"frames {self.frames} is larger than rendered_frames {self.rendered_frames}")
        if not 0 <= min(self.momentum) <= max(self.momentum) < 1:
            raise ValueError(f"momentum {self.momentum}: expected numbers in [0, 1)")
        if not 0 <= min(self.weight_decay) <= max(self.weight_decay) <= 10:
            raise ValueError(f"weight decay {self.weight_decay}: expected numbers from 0 to 10")
        if self.context_from > self.context_to:
            raise ValueError(f"context_from {self.context_from} is after context_to {self.context_to}")
        return self

    def frames_at(self, step: int) -> int:
        """Frames per clip at one step."""
        return self.rendered_frames if step >= self.long_from * self.steps else self.frames

    def rate_at(self, step: int) -> float:
        """Learning rate at one step."""
        warm = self.warmup * self.steps
        if step < warm:
            return self.learning_rate * min(1.0, (step + 1) / warm)
        gone = (step - warm) / max(1.0, self.steps - warm)
        return self.learning_rate * (self.last_rate + (1 - self.last_rate) * 0.5 * (1 + math.cos(math.pi * gone)))

    def decay_at(self, step: int) -> float:
        """Weight decay at one step."""
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
