"""The models that ship: their cards, their bytes, and that they learned something."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from vjepa_stress.data.procedural import Procedural
from vjepa_stress.digest import sha256_file
from vjepa_stress.encoders.seeded import Seeded
from vjepa_stress.encoders.stored import SHIPPED, Stored
from vjepa_stress.interfaces import Encoder
from vjepa_stress.metrics.functional_utility import FunctionalUtility
from vjepa_stress.provenance import shipped
from vjepa_stress.sweep.bind import Blocks
from vjepa_stress.sweep.yaml_file import load_yaml

SIZES = ("pocket_a", "pocket_b", "pocket_c", "pocket_d")
CPU = torch.device("cpu")


def card(name: str) -> Stored:
    encoder = Blocks().encoder(name)
    assert isinstance(encoder, Stored)
    return encoder


@pytest.mark.parametrize("name", SIZES)
def test_a_card_pins_its_file(name: str) -> None:
    path = SHIPPED / card(name).file
    assert card(name).sha256 == sha256_file(path)
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["training"])
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118 - no mapping
    assert told["name"] == name
    recipe = load_yaml(shipped("conf") / "training" / "pocket.yaml")
    assert told["recipe"] == recipe, "the recipe that ships is the one it was trained by"
    assert told["steps"] == recipe["steps"]


def test_together_they_are_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.safetensors")) < 12e6


def test_the_control_is_the_twin_of_the_largest() -> None:
    twin = Blocks().encoder("pocket_d_untrained")
    assert isinstance(twin, Seeded)
    assert twin.architecture == card("pocket_d").architecture


def m3(encoder: Encoder, clips: Procedural) -> np.ndarray:
    metric = Blocks().metric("M3")
    assert isinstance(metric, FunctionalUtility)
    encode = encoder.load(SHIPPED, CPU, "float32", False).encode
    found = []
    for one in clips.identify(None, 16):
        sample = clips.read(one, None, 96)
        assert sample.masks is not None
        found.append(float(metric.of_clean(encode(sample.pixels[None].float() / 255), sample.masks[None])))
    return np.array(found)


def test_they_follow_objects_better_than_the_untrained_twin_and_pixels() -> None:
    """A glance at twelve held-out clips; `python -m tests.bench pocket` looks at 120, with intervals."""
    held_out = Blocks().dataset("procedural_held_out")
    assert isinstance(held_out, Procedural)
    clips = held_out.model_copy(update={"n_clips": 12})
    trained = m3(card("pocket_d"), clips)
    for control in ("pocket_d_untrained", "pixels_8"):
        gain = trained - m3(Blocks().encoder(control), clips)
        assert gain.mean() > 0, control
        assert (gain > 0).mean() > 0.5, control
