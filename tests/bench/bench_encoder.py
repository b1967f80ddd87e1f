"""How much time the encoder spends beside its matrix products and attention.

Base size, 256 px, 16 frames (2048 tokens), float32, one thread on the CPU. Four things are run in turn, so that what
else the machine does hits all of them, and medians are compared:

* floor: the matrix products (no biases) and scaled dot-product attention of one forward, and nothing else;
* eager: the encoder;
* compiled: the encoder as a sweep with `compile: true` runs it, normalisation included;
* rebuilding: the encoder with its rotary table made anew in every block.
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
    """The products and attention of one forward, on inputs of the same shapes and layouts."""
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
    """The forward with a rotary table for every block."""
    t, h, w = model.grid(video)
    x = model.patch_embed(video) + model.video_mod_embed
    for block in model.blocks:
        x = block(x, rotary_table.__wrapped__(t, h, w, model.config.head_dim, video.device, video.dtype))
    features: Tensor = model.norms_block[-1](x)
    return features


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, by what was run."""
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
            # Every other round backwards: whoever comes after the heaviest would else always do so.
            for name in list(runs)[:: 1 if turn % 2 else -1]:
                start = time.perf_counter()
                runs[name]()
                seconds[name].append(time.perf_counter() - start)
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    return seconds


def measured(rounds: int = 5) -> dict[str, Any]:
    """Ratios of medians, and the seconds behind them."""
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
