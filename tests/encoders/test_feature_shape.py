"""Encoders declare the shape of their features, and the declaration holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.small import study
from vjepa_stress.digest import sha256
from vjepa_stress.encoders.released import SIZES
from vjepa_stress.errors import BadConfiguration
from vjepa_stress.interfaces import LoadedEncoder
from vjepa_stress.records import ClipManifest
from vjepa_stress.sweep.bind import Blocks
from vjepa_stress.sweep.features import CleanFeatures, Clips


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


def test_a_false_declaration_is_refused_when_features_are_made(tmp_path: Path) -> None:
    data = Blocks(study.CONF).dataset("small")
    refs = data.identify(None, 4)
    manifest = ClipManifest(schema="vjepa-stress/clips/v1", dataset="small", clips=refs).to_bytes()
    (tmp_path / "clips.json").write_bytes(manifest)
    clips = Clips(data, tmp_path / "clips.json", sha256(manifest), None, 32, tmp_path / "kept")
    pixels = Blocks().encoder("pixels")
    loaded = pixels.load(Path(), torch.device("cpu"), "float32", compiled=False)
    right = pixels.feature_shape(4, 32)

    def features(encoder: LoadedEncoder, shape: tuple[int, int, int, int]) -> torch.Tensor:
        folder = tmp_path / "-".join(map(str, shape))
        return CleanFeatures(encoder, shape, clips, folder).get(refs[0], torch.device("cpu"))

    assert tuple(features(loaded, right).shape) == (1, *right)
    for axis in range(4):
        wrong = tuple(size + (place == axis) for place, size in enumerate(right))
        with pytest.raises(BadConfiguration, match="shape that their encoder declares"):
            features(loaded, wrong)  # type: ignore[arg-type]
