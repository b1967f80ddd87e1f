"""Encoders declare the shape of their features, and the declaration holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.design.test_cell import design
from tests.small import study
from vjepa_stress.encoders.released import SIZES
from vjepa_stress.errors import BadConfiguration
from vjepa_stress.sweep.bind import Blocks
from vjepa_stress.sweep.compute import Model, Source


@pytest.mark.parametrize("name", ["tiny", "tiny_wide", "pixels", "pixels_8", "pocket_a", "pocket_d_untrained"])
@pytest.mark.parametrize(("frames", "resolution"), [(4, 32), (8, 48)])
def test_features_have_the_declared_shape(name: str, frames: int, resolution: int) -> None:
    encoder = Blocks().encoder(name)
    loaded = encoder.load(Path(), torch.device("cpu"), "float32", compiled=False)
    found = loaded.encode(torch.zeros(1, 3, frames, resolution, resolution))
    assert tuple(found.shape) == (1, *encoder.feature_shape(frames, resolution))


@pytest.mark.parametrize(("size", "channels"), [("base", 768), ("large", 1024), ("giant", 1408), ("gigantic", 1664)])
def test_released_models_have_tubelets_of_two_frames_and_patches_of_sixteen_pixels(size: str, channels: int) -> None:
    assert set(SIZES) == {"base", "large", "giant", "gigantic"}
    assert Blocks().encoder(size).feature_shape(16, 384) == (8, 24, 24, channels)


def test_a_false_declaration_is_refused_when_features_are_made() -> None:
    blocks = Blocks(study.CONF)
    data, pixels = blocks.dataset("small"), blocks.encoder("pixels")
    loaded = pixels.load(Path(), torch.device("cpu"), "float32", compiled=False)
    right = pixels.feature_shape(4, 32)
    of = design(resolution=32, frames=4)
    prepared = Source(of, data, {}, None).prepare(data.identify(None, 4)[0], (), ())

    def features(shape: tuple[int, int, int, int]) -> torch.Tensor:
        model = Model(of, pixels, loaded, (), torch.device("cpu"))
        model._shape = shape
        return model.encode_clean(prepared)

    assert tuple(features(right).shape) == (1, *right)
    for axis in range(4):
        wrong = tuple(size + (place == axis) for place, size in enumerate(right))
        with pytest.raises(BadConfiguration, match="shape that their encoder declares"):
            features(wrong)  # type: ignore[arg-type]
