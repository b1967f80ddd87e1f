"""Untrained weights: pinned bits, the distribution promised, features that depend on what is seen."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from vjepa_stress.digest import Digest, digest_of
from vjepa_stress.encoders.seeded import Seeded, draw_weights, weights_digest
from vjepa_stress.encoders.vjepa21 import VJEPA21
from vjepa_stress.interfaces import Features, LoadedEncoder

CARDS = Path(__file__).parents[2] / "conf" / "model"
NOWHERE = Path("no such folder")
CPU = torch.device("cpu")


def card(name: str) -> Seeded:
    fields = yaml.safe_load((CARDS / f"{name}.yaml").read_text())
    assert fields.pop("_target_") == f"{Seeded.__module__}.Seeded"
    return Seeded.model_validate(fields)


@pytest.fixture(scope="module")
def tiny() -> LoadedEncoder:
    return card("tiny").load(NOWHERE, CPU, "float32", compiled=False)


def ramp(shift: int = 0) -> Tensor:
    """A video from integers alone: a pattern that moves by a pixel a frame."""
    t, y, x = torch.meshgrid(torch.arange(4), torch.arange(32), torch.arange(48), indexing="ij")
    channels = [(x + t + shift) % 7 / 6, (y * 3 + x * 2 + t) % 11 / 10, (x * y + shift) % 5 / 4]
    return torch.stack(channels).float()[None]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("tiny", "sha256:0d36e200efb81c5c29e86ad72f9f5657dd9bb48c3498d3040a68bd71a88ff22a"),
        ("tiny_wide", "sha256:074850cda0ab5f96912333b3ae65ce26cfd0fabf51faa3aae563165f2bec3c28"),
    ],
)
def test_weights_are_the_same_on_every_machine(name: str, digest: str) -> None:
    encoder = card(name)
    assert encoder.untrained
    assert encoder.identify(NOWHERE) == digest
    assert encoder.load(NOWHERE, CPU, "bfloat16", compiled=False).weights == digest


PINNED = [-0.8168448, 0.3951175, -0.1914778, 0.6543829]


def test_features_of_the_tiny_encoder_are_pinned(tiny: LoadedEncoder) -> None:
    features = tiny.encode(ramp())
    assert features.shape == (1, 2, 2, 3, 48)
    found = [
        features[0, t, h, w, c].item() for t, h, w, c in ((0, 0, 0, 0), (0, 1, 2, 7), (1, 0, 1, 23), (1, 1, 2, 47))
    ]
    assert found == pytest.approx(PINNED, abs=1e-5)


@pytest.mark.parametrize("name", ["tiny", "tiny_wide"])
def test_the_card_says_what_it_is(name: str) -> None:
    text = (CARDS / f"{name}.yaml").read_text()
    assert "UNTRAINED" in text
    with torch.device("meta"):
        model = VJEPA21(card(name).architecture)
    said = re.search(r"parameters: +([\d ]+) in (\d+) tensors", text)
    assert said
    assert int(said[1].replace(" ", "")) == sum(p.numel() for p in model.parameters())
    assert int(said[2]) == len(model.state_dict())


def test_weights_are_53_bits_of_pcg64_scaled_by_fan_in() -> None:
    config = card("tiny").architecture
    weights = draw_weights(config, 3)
    for name, fan_in in (("blocks.4.mlp.fc2.weight", 192), ("patch_embed.proj.weight", 3 * 2 * 16 * 16)):
        seed = int(digest_of({"name": name, "weights_seed": 3}).hex, 16)
        unit = np.random.Generator(np.random.PCG64(seed)).random(tuple(weights[name].shape))
        expected = torch.from_numpy(((2 * unit - 1) * math.sqrt(3 / fan_in)).astype(np.float32))
        # The order of two multiplications may differ in the last bit.
        torch.testing.assert_close(weights[name], expected, rtol=2e-7, atol=0)
        assert weights[name].var().item() == pytest.approx(1 / fan_in, rel=0.05)
    biases = [name for name in weights if name.endswith(".bias")]
    norms = [name for name in weights if "norm" in name and name.endswith(".weight")]
    assert len(biases) > len(norms) > 2 * config.depth
    assert not any(weights[name].any() for name in biases)
    assert all((weights[name] == 1).all() for name in norms)
    assert weights["video_mod_embed"].abs().max() <= 0.02 * math.sqrt(3)
    assert not torch.equal(weights["video_mod_embed"], weights["img_mod_embed"])


def test_no_global_state_is_read_or_moved() -> None:
    before = card("tiny").identify(NOWHERE)
    torch.manual_seed(9)
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # type: ignore[index]
    card("tiny").load(NOWHERE, CPU, "float32", compiled=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]
    torch.set_default_dtype(torch.float64)
    try:
        assert card("tiny").identify(NOWHERE) == before
    finally:
        torch.set_default_dtype(torch.float32)


def test_another_seed_is_another_encoder() -> None:
    other = card("tiny").model_copy(update={"weights_seed": 1})
    assert other.identify(NOWHERE) != card("tiny").identify(NOWHERE)


def test_the_digest_holds_names_shapes_formats_and_values_but_no_order() -> None:
    weights = {"b": torch.arange(6, dtype=torch.float32).reshape(2, 3), "a": torch.ones(2)}
    digest = weights_digest(weights)
    assert weights_digest(dict(reversed(weights.items()))) == digest
    assert weights_digest({**weights, "b": weights["b"].t().contiguous().t()}) == digest
    changes = (
        {"b": weights["b"].reshape(3, 2)},
        {"b": weights["b"].double()},
        {"b": weights["b"] + 1e-6},
        {"c": torch.ones(1)},
        {"a": torch.ones(2, dtype=torch.float16)},
    )
    assert len({digest, *(weights_digest({**weights, **change}) for change in changes)}) == 6


def test_the_digest_is_the_documented_bytes() -> None:
    weights = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor([[0.5]])}
    document = b'{"dtype":"float32","name":"a","shape":[1,1]}\n' + struct.pack("<f", 0.5)
    document += b'{"dtype":"float32","name":"b","shape":[2]}\n' + struct.pack("<2f", 1.0, -2.0)
    assert weights_digest(weights) == Digest("sha256:" + hashlib.sha256(document).hexdigest())


def distance(one: Features, other: Features) -> float:
    return 1 - torch.nn.functional.cosine_similarity(one, other, dim=-1).mean().item()


def test_features_depend_on_what_is_seen_and_when(tiny: LoadedEncoder) -> None:
    clean = tiny.encode(ramp())
    assert clean.square().mean().item() == pytest.approx(1, abs=1e-3), "the last norm gives unit variance"
    assert torch.equal(tiny.encode(ramp()), clean)
    faint, other = tiny.encode(ramp() * 0.99), tiny.encode(ramp(shift=3))
    assert 0 < distance(clean, faint) < 0.01 < distance(clean, other)
    assert distance(clean, tiny.encode(ramp().flip(2))) > 0.01


@pytest.mark.parametrize(
    "mistake", [{"depth": 11}, {"num_heads": 7}, {"weights_seed": -1}, {"weights_seed": 2**53}, {"seed": 1}]
)
def test_a_card_with_a_mistake_is_refused(mistake: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Seeded.model_validate(card("tiny").model_dump() | mistake)
