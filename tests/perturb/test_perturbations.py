"""Every perturbation: strength 0, batches, nesting, correspondences, closed forms, pinned results."""

import json
import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_stress.digest import sha256
from vjepa_stress.interfaces import Perturbation
from vjepa_stress.perturb.motion_blur import line_kernel
from vjepa_stress.perturb.seeds import clip_seed, generator
from vjepa_stress.sweep.bind import Blocks

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "perturbation").glob("*.yaml"))
ALL = {name: Blocks().perturbation(name) for name in NAMES}
GRADED = [name for name in NAMES if ALL[name].role != "probe"]
TIER1 = [name for name in NAMES if ALL[name].role == "tier1"]
GOLDEN = Path(__file__).parents[1] / "golden" / "perturb"


def clips(count: int, height: int = 48, width: int = 64, frames: int = 16, seed: int = 0) -> Tensor:
    """Smooth moving textures: neighbouring frames and pixels resemble each other, as in video."""
    draw = generator(seed)
    coarse = torch.from_numpy(draw.random((count, 3, frames // 4 + 1, height // 8, width // 8), dtype=np.float32))
    video = torch.nn.functional.interpolate(coarse, (frames, height, width), mode="trilinear", align_corners=True)
    return (0.15 + 0.7 * video).contiguous()


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


def test_compressing_again_and_again_gives_the_same_pixels() -> None:
    video = clips(2)
    first = apply("compression", video, 0.5, [0, 0])
    for _ in range(20):
        assert torch.equal(apply("compression", video, 0.5, [0, 0]), first)


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


def test_noise_is_one_field_scaled() -> None:
    video = torch.full((1, 3, 16, 32, 32), 0.5)
    noise = {s: apply("gaussian_noise", video, s, [3]) - video for s in (0.1, 0.2)}
    torch.testing.assert_close(noise[0.2], 2 * noise[0.1], atol=1e-6, rtol=0)
    # σ = 0.40·s: standard error of a standard deviation over n values is σ/√(2n).
    assert float(noise[0.2].std()) == pytest.approx(0.08, abs=5 * 0.08 / math.sqrt(2 * video.numel()))
    assert float(noise[0.2].mean()) == pytest.approx(0, abs=5 * 0.08 / math.sqrt(video.numel()))


def test_dropped_frames_are_nested_and_counted() -> None:
    frames = torch.arange(16.0) / 16
    video = frames[None, None, :, None, None].expand(1, 3, 16, 4, 4).contiguous()
    lost_before: set[int] = set()
    for step in range(1, 11):
        shown = (apply("frame_drops", video, step / 10, [9])[0, 0, :, 0, 0] * 16).long().tolist()
        lost = {t for t in range(16) if shown[t] != t}
        assert len(lost) == math.floor(0.9 * step / 10 * 15 + 0.5)
        assert lost_before <= lost
        assert 0 not in lost
        for t in range(1, 16):
            assert shown[t] == (shown[t - 1] if t in lost else t)
        lost_before = lost


def test_the_disc_is_nested_has_its_area_and_keeps_its_path() -> None:
    video = torch.zeros(1, 3, 16, 96, 96)
    covers = [apply("occlusion", video, step / 10, [4])[0, 0] * 2 for step in range(1, 11)]
    for smaller, larger in pairwise(covers):
        assert bool((larger >= smaller - 1e-6).all())
    middle = covers[4][8]  # the middle of the path passes near the centre: the whole disc of area 0.25 is in view
    assert float(middle.mean()) == pytest.approx(0.25, abs=0.02)
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    centres = torch.stack(
        [torch.stack([(c * rows).sum() / c.sum(), (c * columns).sum() / c.sum()]) for c in covers[0]]
    )
    inside = centres[3:13]  # away from the border, where the disc is cut off
    steps = inside.diff(dim=0)
    assert float((steps - steps.mean(0)).abs().max()) < 0.2
    assert float(covers[0][0].mean()) > 0  # it is there in the first frame
    assert float(covers[0][15].mean()) > 0  # and in the last


@pytest.mark.parametrize("length", [0.3, 1.0, 4.7, 12.8])
@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, 2.5])
def test_the_blur_kernel_is_a_line(length: float, angle: float) -> None:
    kernel = line_kernel(length, angle)
    reach = kernel.shape[0] // 2
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    assert float(kernel.min()) >= 0
    rows, columns = kernel.sum(1), kernel.sum(0)
    assert float(rows @ offsets) == pytest.approx(0, abs=1e-9)
    assert float(columns @ offsets) == pytest.approx(0, abs=1e-9)
    # Along the line the variance of a uniform segment is L²/12, to which interpolation adds at most 1/4 a axis.
    spread = float(rows @ offsets**2 + columns @ offsets**2)
    assert length**2 / 12 - 0.01 <= spread <= length**2 / 12 + 0.51


def test_horizontal_blur_is_a_moving_average() -> None:
    kernel = line_kernel(4.0, 0.0)
    expected = torch.zeros_like(kernel)
    reach = kernel.shape[0] // 2
    expected[reach, reach - 2 : reach + 3] = torch.tensor([0.125, 0.25, 0.25, 0.25, 0.125], dtype=torch.float64)
    torch.testing.assert_close(kernel, expected, atol=1e-3, rtol=0)


def test_low_light_is_a_gamma_curve() -> None:
    video = torch.linspace(0, 1, 3 * 2 * 8 * 8).reshape(1, 3, 2, 8, 8)
    torch.testing.assert_close(apply("low_light", video, 0.5, [0]), video**3)


def test_camera_roll_by_a_right_angle_is_a_rotation() -> None:
    block = ALL["camera_roll"].model_copy(update={"degrees_at_full": 90.0})
    video = clips(1, 32, 32)
    turned = block(video, 1.0, [0])
    torch.testing.assert_close(turned, video.rot90(1, (3, 4)), atol=1e-4, rtol=0)


def test_probes_are_involutions() -> None:
    video = clips(2)
    for name, axis in (("reverse", 2), ("hflip", 4)):
        once = apply(name, video, 0, [0, 0])
        assert torch.equal(once, video.flip(axis))
        assert torch.equal(apply(name, once, 0, [0, 0]), video)


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


def test_compression_is_lossy_in_place_and_grows() -> None:
    video = clips(1, 33, 47)  # odd sides are padded for the codec and cut again
    distances = [float((apply("compression", video, s, [0]) - video).abs().mean()) for s in (0.1, 0.5, 1.0)]
    assert 0 < distances[0] < distances[1] < distances[2] < 0.1


def test_seeds_depend_on_clip_and_name_only() -> None:
    clip, other = sha256(b"clip"), sha256(b"other")
    seed = clip_seed(7, clip, "occlusion")
    assert 0 <= seed < 2**53
    assert (
        len({seed, clip_seed(7, other, "occlusion"), clip_seed(7, clip, "noise"), clip_seed(8, clip, "occlusion")})
        == 4
    )


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
    """Write the pinned results anew: `python -m tests.perturb.test_perturbations`, after a deliberate change."""
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
