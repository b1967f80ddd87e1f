"""The demo's own encoder, clips and blocks against what is known of the metrics beforehand."""

import random
import statistics
from pathlib import Path

import pytest
import torch

from vjepa_stress.interfaces import Features, Observation
from vjepa_stress.metrics.drift import temporal_consistency
from vjepa_stress.sweep.bind import Blocks


@pytest.fixture(scope="module")
def blocks() -> Blocks:
    return Blocks(None)


@pytest.fixture(scope="module", params=["tiny", "tiny_wide"])
def features(request: pytest.FixtureRequest, blocks: Blocks) -> Features:
    """Features of the demo's twelve clips: (12, 8, 8, 8, D)."""
    encode = blocks.encoder(request.param).load(Path(), torch.device("cpu"), "float32", False).encode
    videos = []
    for name in ("demo_procedural", "footage"):
        data = blocks.dataset(name)
        videos += [data.read(clip, None, 128).pixels.float() / 255 for clip in data.identify(None, 16)]
    return torch.cat([encode(video[None]) for video in videos])


def test_reversed_features_are_undone_by_alignment(blocks: Blocks, features: Features) -> None:
    reverse = blocks.perturbation("reverse")
    backwards = features.flip(1)
    aligned, counterpart = reverse.align(backwards, None)
    seen = Observation(features, backwards, aligned, counterpart, in_place=False)
    for metric, columns in (("M1", ("M1", "M1a")), ("M2", ("M2", "M2a"))):
        found = blocks.metric(metric)(seen)
        assert found[columns[1]].value.abs().max() < 1e-12
        assert found[columns[0]].value.min() > 0.01  # the raw twin does see the reversal


def test_reversed_independent_frames_read_eight_sevenths(features: Features) -> None:
    """Each temporal position from another clip: gradients two or more steps apart are unrelated by symmetry."""
    chance, found = random.Random(7), []
    for _ in range(1000):
        drawn = chance.sample(range(features.shape[0]), 8)
        frames = torch.stack([features[clip, chance.randrange(8)] for clip in drawn])[None]
        found.append(float(temporal_consistency(frames, frames.flip(1))))
    error = statistics.stdev(found) / len(found) ** 0.5
    assert error < 0.01
    assert abs(statistics.mean(found) - 8 / 7) < 4 * error


def test_the_identity_is_at_the_noise_floor(blocks: Blocks, features: Features) -> None:
    same, everywhere = blocks.perturbation("identity").align(features, None)
    for metric in ("M1", "M2"):
        for measured in blocks.metric(metric)(Observation(features, same.clone(), same, everywhere, True)).values():
            assert measured.value.abs().max() <= 1e-8
