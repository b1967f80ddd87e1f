"""Time of the encoder relative to its matrix products and attention.

Base size, 256 px, 16 frames (2048 tokens), float32, one CPU thread. Four variants run in turn, so that other load on
the machine affects all of them, and their medians are compared:

* floor: only the matrix products (without biases) and scaled dot-product attention of one forward pass;
* eager: the encoder;
* compiled: the encoder as a sweep with `compile: true` runs it, including normalisation;
* rebuilding: the encoder with its rotary table recomputed in every block.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_stress.encoders.released import SIZES, pixel_encoder
from vjepa_stress.encoders.vjepa21 import VJEPA21, rotary_table

CPU = torch.device("cpu")
SHAPE = (1, 3, 16, 256, 256)


def floor(model: VJEPA21, tokens: Tensor, blocks: Tensor) -> None:
    """Matrix products and attention of one forward pass, on inputs of the same shapes and layouts."""
    weights = dict(model.named_parameters())
    heads, channels = model.config.num_heads, model.config.head_dim
    F.linear(blocks, weights["patch_embed.proj.weight"].flatten(1))
    for n in range(model.config.depth):
        qkv = F.linear(tokens, weights[f"blocks.{n}.attn.qkv.weight"])
        q, k, v = qkv.view(*tokens.shape[:2], 3, heads, channels).transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        F.linear(mixed, weights[f"blocks.{n}.attn.proj.weight"])
        F.linear(F.linear(tokens, weights[f"blocks.{n}.mlp.fc1.weight"]), weights[f"blocks.{n}.mlp.fc2.weight"])


def rebuilding(model: VJEPA21, video: Tensor) -> Tensor:
    """The forward pass with a new rotary table for every block."""
    t, h, w = model.grid(video)
    x = model.patch_embed(video) + model.video_mod_embed
    for block in model.blocks:
        x = block(x, rotary_table.__wrapped__(t, h, w, model.config.head_dim, video.device, video.dtype))
    features: Tensor = model.norms_block[-1](x)
    return features


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, by variant."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = VJEPA21(SIZES["base"]).eval().requires_grad_(False)
    compiled = pixel_encoder(copy.deepcopy(model), CPU, "float32", compiled=True)
    video, tokens, blocks = torch.rand(SHAPE), torch.randn(1, 2048, 768), torch.randn(1, 2048, 3 * 2 * 16 * 16)
    runs: dict[str, Callable[[], object]] = {
        "floor": lambda: floor(model, tokens, blocks),
        "eager": lambda: model(video),
        "compiled": lambda: compiled(video),
        "rebuilding": lambda: rebuilding(model, video),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        torch.testing.assert_close(rebuilding(model, video), model(video), rtol=0, atol=0)
        compiled(video)
        for turn in range(rounds):
            # Every other round runs in reverse, so that no variant always follows the heaviest one.
            for name in list(runs)[:: 1 if turn % 2 else -1]:
                start = time.perf_counter()
                runs[name]()
                seconds[name].append(time.perf_counter() - start)
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    return seconds


def measured(rounds: int = 5) -> dict[str, Any]:
    """Ratios of medians, and the measured seconds."""
    seconds = measure(rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "eager_over_floor": median["eager"] / median["floor"],
        "compiled_over_floor": median["compiled"] / median["floor"],
        "eager_over_rebuilding": median["eager"] / median["rebuilding"],
        "limits": {"eager_over_floor": 1.35, "compiled_over_floor": 1.20, "eager_over_rebuilding": 1.03},
        "seconds": seconds,
        "torch": torch.__version__,
    }
