"""What holds for every perturbation: strength 0, batches, growth, correspondences, pinned results."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.perturb.textures import clips
from vjepa_stress.digest import sha256
from vjepa_stress.interfaces import Perturbation
from vjepa_stress.sweep.bind import Blocks

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "perturbation").glob("*.yaml"))
ALL = {name: Blocks().perturbation(name) for name in NAMES}
GRADED = [name for name in NAMES if ALL[name].role != "probe"]
TIER1 = [name for name in NAMES if ALL[name].role == "tier1"]
GOLDEN = Path(__file__).parents[1] / "golden" / "perturb"


def apply(name: str, video: Tensor, strength: float, seeds: list[int]) -> Tensor:
    block = ALL[name]
    return block(video, None if block.role == "probe" else strength, seeds)


def test_nine_and_the_identity() -> None:
    assert len(NAMES) == 10
    assert {name: ALL[name].role for name in NAMES if ALL[name].role == "probe"}.keys() == {
        "identity",
        "reverse",
        "hflip",
    }
    assert TIER1 == ["frame_drops", "gaussian_noise", "low_light", "motion_blur", "occlusion"]


@pytest.mark.parametrize("name", NAMES)
def test_shape_dtype_range_and_no_writing_to_the_input(name: str) -> None:
    video = clips(2)
    before = video.clone()
    for strength in (0.1, 1.0):
        found = apply(name, video, strength, [1, 2])
        assert (found.shape, found.dtype, found.device) == (video.shape, video.dtype, video.device)
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1
    assert torch.equal(video, before)


@pytest.mark.parametrize("name", GRADED)
def test_strength_zero_is_the_input_bit_for_bit(name: str) -> None:
    video = clips(2)
    found = ALL[name](video, 0.0, [1, 2])
    assert torch.equal(found, video)
    assert found.data_ptr() != video.data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_alone_in_a_batch_and_in_any_order(name: str) -> None:
    video, seeds = clips(3), [5, 6, 7]
    together = apply(name, video, 0.7, seeds)
    for number in range(3):
        alone = apply(name, video[number : number + 1], 0.7, seeds[number : number + 1])
        assert torch.equal(alone[0], together[number])
    order = [2, 0, 1]
    assert torch.equal(apply(name, video[order], 0.7, [seeds[i] for i in order]), together[order])


@pytest.mark.parametrize("name", ["gaussian_noise", "motion_blur", "frame_drops", "occlusion"])
def test_the_seed_decides(name: str) -> None:
    video = clips(1)
    assert torch.equal(apply(name, video, 0.7, [5]), apply(name, video, 0.7, [5]))
    assert not torch.equal(apply(name, video, 0.7, [5]), apply(name, video, 0.7, [6]))


@pytest.mark.parametrize("name", TIER1)
def test_tier_one_grows_with_strength(name: str) -> None:
    video = clips(20)
    distances = [float((apply(name, video, step / 10, list(range(20))) - video).abs().mean()) for step in range(11)]
    assert distances[0] == 0
    assert all(later > earlier for earlier, later in pairwise(distances)), distances


@pytest.mark.parametrize("name", NAMES)
def test_alignment_undoes_what_the_correspondence_says(name: str) -> None:
    """Pixels stand in for features: where content moved, mapping back restores it."""
    video = clips(1, 64, 64)
    block: Perturbation = ALL[name]
    strength = None if block.role == "probe" else 0.5
    perturbed = video if block.correspondence == "in-place" else block(video, strength, [0])
    features, counterpart = block.align(perturbed.permute(0, 2, 3, 4, 1), strength)
    clean = video.permute(0, 2, 3, 4, 1)
    difference = (features - clean).abs().amax((0, 1, 4))
    # Two bilinear interpolations soften the creases of the texture; a wrong direction would differ by 0.2.
    assert float(difference[counterpart].mean()) < 0.015
    assert float(difference[counterpart].max()) < 0.06
    if block.correspondence == "rotated":
        assert 0.5 < float(counterpart.float().mean()) < 1
        assert not bool(counterpart[0, 0])  # a corner turns out of the frame
    else:
        assert bool(counterpart.all())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "compression"])
def test_results_are_pinned(name: str) -> None:
    """Bit for bit by the digest of 8-bit frames where the CPU agrees, else within 1e-5 of stored values.

    The codec is excepted: its builds differ.
    """
    video = clips(2, 24, 32, seed=11)
    found = apply(name, video, 0.6, [21, 22])
    digest = sha256((found * 255).round().to(torch.uint8).numpy().tobytes())
    stored, digests = np.load(GOLDEN / "values.npz"), json.loads((GOLDEN / "digests.json").read_text())
    np.testing.assert_allclose(found.flatten()[::97].numpy(), stored[name], atol=1e-5, rtol=0)
    if digest != digests[name]:  # a value within 1e-5 of a half may round the other way on another CPU
        eight_bit = (found.flatten()[::97] * 255).numpy()
        near_half = np.abs(eight_bit - np.floor(eight_bit) - 0.5) < 255e-5
        assert near_half.any(), f"{name}: digest {digest} differs though no value is near a rounding border"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_agrees(name: str) -> None:
    video = clips(2)
    on_gpu = apply(name, video.cuda(), 0.7, [1, 2]).cpu()
    torch.testing.assert_close(on_gpu, apply(name, video, 0.7, [1, 2]), atol=1e-5, rtol=0)


def write_pins() -> None:
    """Write the pinned results again: `python -m tests.perturb.test_perturbations`, after a deliberate change."""
    GOLDEN.mkdir(exist_ok=True)
    values: dict[str, Any] = {}
    video, digests = clips(2, 24, 32, seed=11), {}
    for name in NAMES:
        if name != "compression":
            found = apply(name, video, 0.6, [21, 22])
            values[name] = found.flatten()[::97].numpy()
            digests[name] = sha256((found * 255).round().to(torch.uint8).numpy().tobytes())
    np.savez_compressed(GOLDEN / "values.npz", **values)
    (GOLDEN / "digests.json").write_text(json.dumps(digests, indent=1) + os.linesep)


if __name__ == "__main__":
    write_pins()
