"""An untrained encoder: V-JEPA 2.1's architecture with random weights, bit-identical on every machine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vjepa_stress.digest import Digest, canonical_json, digest_of
from vjepa_stress.encoders.released import assemble, pixel_encoder
from vjepa_stress.encoders.shaped import Shaped
from vjepa_stress.encoders.vjepa21 import VJEPA21, VJEPA21Config
from vjepa_stress.interfaces import DType, LoadedEncoder


class Seeded(Shaped):
    """An untrained encoder with random weights, as a control.

    Attributes:
        weights_seed: seed of all weights, from 0 to 2**53 − 1.
    """

    kind: ClassVar[str] = "encoder/vjepa21_seeded"
    revision: ClassVar[int] = 1
    untrained: ClassVar[bool] = True

    weights_seed: int = Field(ge=0, lt=2**53)

    def identify(self, store: Path) -> Digest:  # noqa: ARG002 - drawn, not read
        """Draw the weights and return their digest; `store` is not used."""
        return weights_digest(draw_weights(self.architecture, self.weights_seed))

    def load(
        self,
        store: Path,  # noqa: ARG002 - drawn, not read
        device: torch.device,
        dtype: DType,
        compiled: bool,
    ) -> LoadedEncoder:
        """Draw the weights and build the model; `store` is not used."""
        weights = draw_weights(self.architecture, self.weights_seed)
        digest = weights_digest(weights)
        model = assemble(self.architecture, weights)
        return LoadedEncoder(weights=digest, encode=pixel_encoder(model, device, dtype, compiled))


def draw_weights(config: VJEPA21Config, seed: int) -> dict[str, Tensor]:
    """Draw all parameters of an encoder, bit-identical on every machine and with every version of numpy and torch.

    Linear maps are uniform with variance 1 / fan-in, so that signals keep their magnitude from layer to layer (LeCun
    et al., Efficient BackProp, 1998); modality vectors are uniform with standard deviation 0.02; norms are the
    identity; biases are 0. Only exactly rounded operations are used: 53 bits of PCG64's raw output, times a bound,
    rounded to float32. Each parameter has its own generator, seeded by the digest of seed and name, so that the
    result does not depend on the order.

    Returns:
        Float32 tensors by name.
    """
    with torch.device("meta"):
        parameters = dict(VJEPA21(config).named_parameters())
    weights: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        shape = tuple(parameter.shape)
        if name.endswith("mod_embed"):
            weights[name] = _uniform(name, shape, seed, deviation=0.02)
        elif name.endswith(".bias"):
            weights[name] = torch.zeros(shape, dtype=torch.float32)
        elif len(shape) == 1:
            weights[name] = torch.ones(shape, dtype=torch.float32)
        else:
            weights[name] = _uniform(name, shape, seed, deviation=1 / math.sqrt(math.prod(shape[1:])))
    return weights


def _uniform(name: str, shape: tuple[int, ...], seed: int, deviation: float) -> Tensor:
    generator = np.random.PCG64(int(digest_of({"name": name, "weights_seed": seed}).hex, 16))
    # numpy guarantees the raw stream, but not the output of its distributions.
    unit = (generator.random_raw(math.prod(shape)) >> np.uint64(11)) * 2.0**-53
    values = (2 * unit - 1) * (math.sqrt(3) * deviation)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def weights_digest(weights: Mapping[str, Tensor]) -> Digest:
    """Digest of named tensors; it does not depend on order, device and machine.

    The hashed bytes are, for each tensor in the order of names, one line of canonical JSON (dtype, name, shape) and
    the values, row-major and little-endian.
    """
    hasher = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().cpu().numpy()
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        head = {"dtype": values.dtype.name, "name": name, "shape": list(values.shape)}
        hasher.update(canonical_json(head) + b"\n")
        hasher.update(little.data)
    return Digest("sha256:" + hasher.hexdigest())
