"""V-JEPA 2.1's objective: predict what a slow teacher sees, from the patches that a student sees.

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
    """The student's four levels, side by side, for the tokens it is shown; it knows where each of them stands.

    Args:
        student: in training.
        video: normalised.
        visible: numbers of the tokens shown, the same for all clips.
    """
    x, table = student.embed(video)
    return torch.cat(student.levels(x[:, visible], table[:, visible]), dim=-1)


def targets(teacher: VJEPA21, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b n d4"]:
    """What is to be predicted: the teacher's four levels of every token, each layer-normalised, side by side."""
    with torch.no_grad():
        return torch.cat([F.layer_norm(level, level.shape[-1:]) for level in teacher.hierarchical(video)], dim=-1)


class Predictor(nn.Module):
    """A narrow transformer that fills in all four levels at every position.

    Args:
        dim: channels of the encoder.
        shape: its own size; `depth` counts the blocks that it has, whatever levels that depth would give an encoder.
        depth: blocks.
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
        self, seen: Float[Tensor, "b v d4"], visible: Int64[Tensor, " v"], grid: Grid
    ) -> Float[Tensor, "b n d4"]:
        """Predict every token of the grid from the visible ones."""
        batch, count = len(seen), grid[0] * grid[1] * grid[2]
        x = self.hidden.expand(batch, count, -1).index_copy(1, visible, self.enter(seen))
        table = rotary_table(*grid, self.head_dim, seen.device, seen.dtype)
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
        predicted: by the predictor.
        target: by the teacher.
        hidden: 1 for each hidden token, 0 for others.
        context: weight of each visible token, 0 for hidden ones.

    Returns:
        The mean over hidden tokens, and the weighted sum over visible tokens divided by their number.
    """
    error = (predicted - target).abs().mean(dim=(0, 2))
    return (error * hidden).sum() / hidden.sum(), (error * context).sum() / (1 - hidden).sum()


def redundancy(levels: Float[Tensor, "b v d4"], count: int) -> Float[Tensor, ""]:
    """What keeps features from falling together: VICReg's variance term, and its covariance term of correlations.

    Args:
        levels: the student's, side by side.
        count: of levels; the terms are averaged over them.

    Returns:
        The mean of max(0, 1 − deviation of a channel) plus the sum of squared correlations between channels over
        their number; 0 for channels that vary and say different things.

    Source: VICReg (arXiv:2105.04906); with a joint-embedding predictive objective, C-JEPA (arXiv:2410.19560).
    """
    rows = torch.stack(levels.flatten(0, 1).chunk(count, dim=-1))
    deviation = (rows.var(1, correction=0) + 1e-4).sqrt()
    scaled = (rows - rows.mean(1, keepdim=True)) / deviation[:, None]
    correlation = scaled.transpose(1, 2) @ scaled / rows.shape[1]
    apart = correlation.square().sum((1, 2)) - correlation.diagonal(dim1=1, dim2=2).square().sum(1)
    term: Tensor = F.relu(1 - deviation).mean(1) + apart / rows.shape[2]
    return term.mean()
