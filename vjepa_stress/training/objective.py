"""V-JEPA 2.1's objective: predict the features of a slowly updated teacher from the visible tokens of a student.

Source: arXiv:2603.14482 (dense predictive loss on hidden and visible tokens, deep self-supervision at four levels).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vjepa_stress.encoders.vjepa21 import HIERARCHY, VJEPA21, Block, VJEPA21Config, rotary_table

Grid = tuple[int, int, int]


def encode_visible(
    student: VJEPA21, video: Float[Tensor, "b 3 t y x"], visible: Int64[Tensor, " v"]
) -> Float[Tensor, "b v d4"]:
    """The student's four levels of the visible tokens, concatenated along channels.

    Args:
        student: encoder in training; visible tokens keep their positions.
        video: normalised.
        visible: indices of the visible tokens, the same for all clips.
    """
    x, table = student.embed(video)
    return torch.cat(student.levels(x[:, visible], table[:, visible]), dim=-1)


def targets(teacher: VJEPA21, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b n d4"]:
    """Targets of the prediction: the teacher's four levels of all tokens, each layer-normalised, concatenated."""
    with torch.no_grad():
        return torch.cat([F.layer_norm(level, level.shape[-1:]) for level in teacher.hierarchical(video)], dim=-1)


class Predictor(nn.Module):
    """A narrow transformer that predicts all four levels at every position.

    Args:
        dim: channels of the encoder.
        shape: width and heads of the predictor; its depth only determines the number of levels.
        depth: number of blocks of the predictor.
    """

    def __init__(self, dim: int, shape: VJEPA21Config, depth: int) -> None:
        super().__init__()
        levels = len(HIERARCHY[shape.depth])
        self.head_dim = shape.head_dim
        self.enter = nn.Linear(levels * dim, shape.embed_dim)
        self.hidden = nn.Parameter(torch.zeros(1, 1, shape.embed_dim))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(depth))
        self.norm = nn.LayerNorm(shape.embed_dim, eps=1e-6)
        self.leave = nn.Linear(shape.embed_dim, levels * dim)

    def forward(
        self, levels: Float[Tensor, "b v d4"], visible: Int64[Tensor, " v"], grid: Grid
    ) -> Float[Tensor, "b n d4"]:
        """Predict every token of the grid from the visible ones."""
        batch, count = len(levels), grid[0] * grid[1] * grid[2]
        x = self.hidden.expand(batch, count, -1).index_copy(1, visible, self.enter(levels))
        table = rotary_table(*grid, self.head_dim, levels.device, levels.dtype)
        for block in self.blocks:
            x = block(x, table)
        predicted: Tensor = self.leave(self.norm(x))
        return predicted


def dense_loss(
    predicted: Float[Tensor, "b n d4"],
    target: Float[Tensor, "b n d4"],
    hidden: Float[Tensor, " n"],
    context: Float[Tensor, " n"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean absolute error of hidden tokens, and of visible ones.

    Args:
        predicted: output of the predictor.
        target: output of `targets`.
        hidden: 1 for hidden tokens, 0 for visible ones.
        context: weights of visible tokens, 0 for hidden ones.

    Returns:
        The mean over hidden tokens, and the weighted sum over visible tokens divided by their number.
    """
    error = (predicted - target).abs().mean(dim=(0, 2))
    return (error * hidden).sum() / hidden.sum(), (error * context).sum() / (1 - hidden).sum()


def redundancy(levels: Float[Tensor, "b v d4"], count: int) -> Float[Tensor, ""]:
    """Loss that prevents collapse: VICReg's variance term, and its covariance term applied to correlations.

    Args:
        levels: the student's levels, concatenated along channels.
        count: number of levels; the terms are averaged over them.

    Returns:
        The mean of max(0, 1 − standard deviation of a channel), plus the sum of squared correlations between channels
        divided by the number of channels; 0 for uncorrelated channels with a standard deviation of 1 or more.

    Source: VICReg (arXiv:2105.04906); with a joint-embedding predictive objective, C-JEPA (arXiv:2410.19560).
    """
    rows = torch.stack(levels.flatten(0, 1).chunk(count, dim=-1))
    deviation = (rows.var(1, correction=0) + 1e-4).sqrt()
    scaled = (rows - rows.mean(1, keepdim=True)) / deviation[:, None]
    correlation = scaled.transpose(1, 2) @ scaled / rows.shape[1]
    apart = correlation.square().sum((1, 2)) - correlation.diagonal(dim1=1, dim2=2).square().sum(1)
    term: Tensor = F.relu(1 - deviation).mean(1) + apart / rows.shape[2]
    return term.mean()
