"""The V-JEPA 2.1 video encoder: a vision transformer with rotary positions in time, height and width.

Source: the V-JEPA 2.1 paper (arXiv:2603.14482) and Meta's public release. Modules have the names of its checkpoints.
"""

from __future__ import annotations

import functools
from collections import OrderedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vjepa_stress.errors import BadInput

HIERARCHY = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
"""Depth → the four blocks, numbered from 0, whose outputs are the hierarchical levels."""

LAST_POSITION = 15.0
"""Rows and columns of every grid have positions from 0 to 15, as in pre-training (256 px, 16 × 16 patches)."""


class VJEPA21Config(BaseModel):
    """Architecture of one encoder.

    Attributes:
        img_size: height and width in training, in pixels; other sizes are accepted as input.
        patch_size: side of a patch in pixels.
        num_frames: number of frames in training; other numbers are accepted as input.
        tubelet_size: frames per token.
        embed_dim: channels of a token.
        depth: number of blocks: 12, 24, 40 or 48, for which the hierarchical levels are known.
        num_heads: number of attention heads; `embed_dim / num_heads` channels per head, an even number of at least 6.
        mlp_ratio: the MLP has int(embed_dim · mlp_ratio) hidden channels.

    Raises:
        ValidationError: (a ValueError) for an invalid architecture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    img_size: int = Field(default=384, ge=1)
    patch_size: int = Field(default=16, ge=1)
    num_frames: int = Field(default=16, ge=1)
    tubelet_size: int = Field(default=2, ge=1)
    embed_dim: int = Field(ge=1)
    depth: int
    num_heads: int = Field(ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0, allow_inf_nan=False)

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def hidden_dim(self) -> int:
        """Hidden channels of the MLP."""
        return int(self.embed_dim * self.mlp_ratio)

    @model_validator(mode="after")
    def _consistent(self) -> VJEPA21Config:
        if self.depth not in HIERARCHY:
            raise ValueError(f"depth {self.depth}: expected one of {', '.join(map(str, sorted(HIERARCHY)))}")
        if self.img_size < 2 * self.patch_size:
            raise ValueError(f"img_size {self.img_size}: expected two patches of {self.patch_size} px or more")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide {self.embed_dim} channels")
        if self.head_dim < 6 or self.head_dim % 2:
            raise ValueError(f"{self.head_dim} channels per head: expected an even number of at least 6")
        if self.hidden_dim < 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} gives no hidden channels")
        return self

    def check_input(self, frames: int, resolution: int) -> None:
        """Refuse clips that do not divide into whole tokens, or have fewer than two rows of them.

        Raises:
            BadInput: with the accepted values.
        """
        check_divides(frames, resolution, self.patch_size, self.tubelet_size)
        if resolution < 2 * self.patch_size:
            raise BadInput(
                "the resolution gives fewer than two rows of patches",
                where="resolution",
                expected=f"{2 * self.patch_size} pixels or more",
                found=f"{resolution} pixels",
                fix="increase the resolution",
            )

    def feature_shape(self, frames: int, resolution: int) -> tuple[int, int, int, int]:
        """Temporal positions, rows, columns and channels of the features of a clip that `check_input` accepts."""
        side = resolution // self.patch_size
        return frames // self.tubelet_size, side, side, self.embed_dim


def check_divides(frames: int, resolution: int, patch_size: int, tubelet_size: int) -> None:
    """Refuse clips that do not divide into whole tokens.

    Raises:
        BadInput: with the field that does not.
    """
    for what, found, step in (("frames", frames, tubelet_size), ("resolution", resolution, patch_size)):
        if found % step:
            raise BadInput(
                "clips do not divide into whole tokens",
                where=what,
                expected=f"a multiple of {step}",
                found=found,
                fix=f"set {what} to {max(1, round(found / step)) * step}",
            )


@functools.lru_cache(maxsize=8)
def rotary_table(
    t: int, h: int, w: int, head_dim: int, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "2 n 1 1 c"]:
    """Cosines and signed sines of the rotary positions of a grid of t × h × w tokens, for one whole head.

    Time, height and width, in this order, have d = 2·⌊⌊c/3⌋/2⌋ channels each; channels 2j and 2j+1 of an axis have
    the angle position · 10000^(−j/(d/2)). Remaining channels have cosine 1 and sine 0, so that one multiplication
    rotates the head. Angles are computed in float64 for every dtype. The last few tables are cached and shared:
    do not modify them.
    """
    # Outside inference mode: cached tables are also used when gradients are needed. On the CPU: some devices have no
    # float64, and a single source makes runs on two machines comparable.
    with torch.inference_mode(False), torch.device("cpu"):
        time = torch.arange(t, dtype=torch.float64)
        rows = torch.arange(h, dtype=torch.float64) * LAST_POSITION / (h - 1)
        columns = torch.arange(w, dtype=torch.float64) * LAST_POSITION / (w - 1)
        positions = torch.stack(torch.meshgrid(time, rows, columns, indexing="ij"), dim=-1).reshape(t * h * w, 3, 1)
        pairs = head_dim // 3 // 2
        frequencies = 10000.0 ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
        angles = F.pad((positions * frequencies).flatten(1).repeat_interleave(2, dim=1), (0, head_dim - 6 * pairs))
        signs = torch.tensor((-1.0, 1.0), dtype=torch.float64).repeat(head_dim // 2)
        return torch.stack((angles.cos(), angles.sin() * signs))[:, :, None, None].to(dtype).to(device)


# A custom operator, so that torch.compile neither traces into the cache nor computes the table in each forward pass.
# It returns a copy (1 MB, compared with seconds of work), because the compiler may reuse the output of an operator.
@torch.library.custom_op(
    "vjepa_stress::rotary_table",
    mutates_args=(),
    schema="(SymInt t, SymInt h, SymInt w, SymInt head_dim, Device device, ScalarType dtype) -> Tensor",
)
def _table(t: int, h: int, w: int, head_dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return rotary_table(t, h, w, head_dim, device, dtype).clone()


@_table.register_fake
def _(t: int, h: int, w: int, head_dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.empty((2, t * h * w, 1, 1, head_dim), device=device, dtype=dtype)


def rotate(x: Float[Tensor, "b n k h c"], table: Float[Tensor, "2 n 1 1 c"]) -> Float[Tensor, "b n k h c"]:
    """Rotate each pair (u, v) of neighbouring channels to (u·cos − v·sin, v·cos + u·sin)."""
    swapped = x.reshape(*x.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return torch.addcmul(x * table[0], swapped, table[1])


class PatchEmbed(nn.Module):
    """Cut a video into blocks of (frames, rows, columns) and map each to a token."""

    def __init__(self, kernel: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.proj = nn.Conv3d(3, dim, kernel_size=kernel, stride=kernel)

    def forward(self, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b n d"]:
        """Tokens in (time, row, column) order; incomplete blocks at the end are dropped."""
        kt, kh, kw = self.kernel
        t, h, w = video.shape[2] // kt, video.shape[3] // kh, video.shape[4] // kw
        blocks = video[:, :, : t * kt, : h * kh, : w * kw].reshape(-1, 3, t, kt, h, kh, w, kw)
        blocks = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)
        # A convolution with a stride equal to its kernel is this matrix product. The product keeps float32 on CUDA,
        # where convolutions use TF32 by default.
        return F.linear(blocks, self.proj.weight.flatten(1), self.proj.bias)


class Attention(nn.Module):
    """Self-attention over all tokens, with rotary positions on queries and keys."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n d"], table: Float[Tensor, "2 n 1 1 c"]) -> Float[Tensor, "b n d"]:
        """Mix tokens."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k = rotate(qkv[:, :, :2], table).transpose(1, 3).unbind(2)
        v = qkv[:, :, 2].transpose(1, 2)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: VJEPA21Config) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, config.hidden_dim
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, config.num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(dim, hidden), gelu=nn.GELU(), fc2=nn.Linear(hidden, dim)))

    def forward(self, x: Float[Tensor, "b n d"], table: Float[Tensor, "2 n 1 1 c"]) -> Float[Tensor, "b n d"]:
        """Add attention, then the MLP, to the stream of tokens."""
        mixed: Tensor = x + self.attn(self.norm1(x), table)
        mapped: Tensor = mixed + self.mlp(self.norm2(mixed))
        return mapped


class VJEPA21(nn.Module):
    """The V-JEPA 2.1 encoder (arXiv:2603.14482), with the parameter names of the release."""

    def __init__(self, config: VJEPA21Config) -> None:
        super().__init__()
        self.config = config
        patch, dim = config.patch_size, config.embed_dim
        self.patch_embed = PatchEmbed((config.tubelet_size, patch, patch), dim)
        self.patch_embed_img = PatchEmbed((1, patch, patch), dim)
        self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norms_block = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in HIERARCHY[config.depth])

    def grid(self, video: Shaped[Tensor, "*shape"]) -> tuple[int, int, int]:
        """Number of tokens along time, height and width.

        Raises:
            BadInput: when the video has no defined tokens or positions.
        """
        # Checked here because annotations are enforced in tests only.
        config, shape = self.config, tuple(video.shape)
        if len(shape) != 5 or shape[1] != 3 or shape[0] < 1 or not video.is_floating_point():
            expected = "(batch, 3, frames, height, width), floating point; an image has one frame"
            raise BadInput("the input is not a batch of videos", expected=expected, found=f"{shape}, {video.dtype}")
        size, tubelet = config.patch_size, config.tubelet_size
        t, h, w = (1 if shape[2] == 1 else shape[2] // tubelet), shape[3] // size, shape[4] // size
        if t < 1:
            expected = f"{tubelet} frames or more, or one (an image)"
            raise BadInput("the video is shorter than a token", expected=expected, found=f"{shape[2]} frames")
        if h < 2 or w < 2:
            what = "positions are not defined for fewer than two rows or columns of patches"
            expected = f"height and width of {2 * size} px or more"
            raise BadInput(what, expected=expected, found=f"height {shape[3]}, width {shape[4]}")
        return t, h, w

    def embed(self, video: Shaped[Tensor, "*shape"]) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "2 n 1 1 c"]]:
        """Tokens before the first block, and the rotary table of their positions."""
        table = _table(*self.grid(video), self.config.head_dim, video.device, video.dtype)
        if video.shape[2] == 1:
            return self.patch_embed_img(video) + self.img_mod_embed, table
        return self.patch_embed(video) + self.video_mod_embed, table

    def forward(self, video: Shaped[Tensor, "*shape"]) -> Float[Tensor, "b n d"]:
        """Encode.

        Args:
            video: (B, 3, T, H, W), normalised; T = 1 is an image. Incomplete patches and tubelets are dropped.

        Returns:
            (B, T'·H'·W', D): the tokens of the last block in (time, row, column) order, after the last norm.

        Raises:
            BadInput: for a video without defined tokens or positions.
        """
        x, table = self.embed(video)
        for block in self.blocks:
            x = block(x, table)
        features: Tensor = self.norms_block[-1](x)
        return features

    def hierarchical(self, video: Shaped[Tensor, "*shape"]) -> list[Float[Tensor, "b n d"]]:
        """Four levels, shallowest first, each after its own norm; the last equals `forward`."""
        return self.levels(*self.embed(video))

    def levels(self, x: Float[Tensor, "b n d"], table: Float[Tensor, "2 n 1 1 c"]) -> list[Float[Tensor, "b n d"]]:
        """The four levels of the given tokens: all tokens of a video or, in training, the visible ones."""
        levels: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x, table)
            if index in HIERARCHY[self.config.depth]:
                levels.append(self.norms_block[len(levels)](x))
        return levels
