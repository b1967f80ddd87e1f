"""The encoder against Meta's own outputs, closed forms and invariants."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.encoders import GOLDEN, SETS, arrays, config_of, notes_of
from vjepa_stress.encoders.released import SIZES, Size, load_released
from vjepa_stress.encoders.vjepa21 import HIERARCHY, VJEPA21, VJEPA21Config, rotary_table, rotate
from vjepa_stress.errors import BadInput

CPU = torch.device("cpu")
SMALL = VJEPA21Config(embed_dim=32, depth=12, num_heads=2)


@pytest.fixture(scope="module")
def small() -> VJEPA21:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return VJEPA21(SMALL).eval().requires_grad_(False)


def video(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def agree_with_meta(name: str, device: torch.device, dtype: torch.dtype, tolerance: float) -> None:
    model = load_released(GOLDEN / f"{name}.pt", config_of(name)).to(device, dtype)
    expected = arrays(GOLDEN / f"{name}.expected.npz")
    levels = HIERARCHY[model.config.depth]
    assert list(levels) == notes_of(name)["hierarchical_layers"]
    compared, given_inputs = 0, arrays(GOLDEN / "inputs.npz")
    for key, given in given_inputs.items():
        given = given.to(device, dtype)
        found = {f"final__{key}": model(given)}
        if f"hier{levels[0]:02}__{key}" in expected:
            found |= {f"hier{n:02}__{key}": x for n, x in zip(levels, model.hierarchical(given), strict=True)}
        for what, features in found.items():
            assert (features.cpu().double() - expected[what]).abs().max() <= tolerance, what
            compared += 1
    assert compared == sum(not what.startswith("dbg") for what in expected if what.split("__")[1] in given_inputs)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-5)])
def test_outputs_are_those_of_metas_code(name: str, dtype: torch.dtype, tolerance: float) -> None:
    agree_with_meta(name, CPU, dtype, tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-5)])
def test_outputs_on_cuda_are_those_of_metas_code(name: str, dtype: torch.dtype, tolerance: float) -> None:
    agree_with_meta(name, torch.device("cuda"), dtype, tolerance)


def test_the_goldens_cover_what_is_easily_got_wrong() -> None:
    shapes = [tuple(given.shape) for given in arrays(GOLDEN / "inputs.npz").values()]
    assert any(t == 1 for _, _, t, _, _ in shapes), "image mode"
    assert any(h > w for *_, h, w in shapes)
    assert any(h < w for *_, h, w in shapes)
    assert any(t not in (1, 16) for _, _, t, _, _ in shapes), "rescaled time would not show at 16 frames"
    assert any(t % 2 and t > 1 for _, _, t, _, _ in shapes), "a frame left over"
    assert {config_of(name).depth for name in SETS} >= {40, 48}
    assert any(config_of(name).num_heads > 1 for name in SETS), "the order of qkv does not show with one head"


@pytest.mark.parametrize(
    ("size", "parameters", "tensors"),
    [
        ("base", 86_833_152, 158),
        ("large", 304_680_960, 302),
        ("giant", 1_013_267_968, 494),
        ("gigantic", 1_845_216_768, 590),
    ],
)
def test_the_released_sizes_have_the_published_numbers_of_parameters(
    size: Size, parameters: int, tensors: int
) -> None:
    with torch.device("meta"):
        model = VJEPA21(SIZES[size])
        features = model(torch.empty(1, 3, 16, 384, 384))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == tensors
    assert features.shape == (1, 8 * 24 * 24, SIZES[size].embed_dim)


@pytest.mark.parametrize(("grid", "channels"), [((3, 4, 5), 64), ((1, 2, 3), 16), ((2, 16, 16), 6), ((2, 2, 2), 32)])
def test_rotary_table_is_the_formula(grid: tuple[int, int, int], channels: int) -> None:
    (t, h, w), d = grid, 2 * (channels // 3 // 2)
    cosine, sine = rotary_table(t, h, w, channels, CPU, torch.float64)[:, :, 0, 0]
    token = 0
    for i in range(t):
        for j in range(h):
            for k in range(w):
                positions = (i, j * 15 / (h - 1), k * 15 / (w - 1))
                for c in range(channels):
                    axis, index = divmod(c, d)
                    angle = positions[axis] * 10000 ** (-(index // 2) / (d / 2)) if axis < 3 else 0.0
                    sign = 1 if c % 2 else -1
                    assert cosine[token, c].item() == pytest.approx(math.cos(angle), abs=1e-14)
                    assert sine[token, c].item() == pytest.approx(sign * math.sin(angle), abs=1e-14)
                token += 1
    assert token == len(cosine)


def test_rotation_is_multiplication_by_a_complex_number() -> None:
    table = rotary_table(3, 4, 5, 18, CPU, torch.float64)
    x = video(2, 60, 2, 3, 18, dtype=torch.float64)
    unit = torch.complex(table[0, ..., ::2], table[1, ..., 1::2])
    expected = torch.view_as_real(torch.view_as_complex(x.reshape(2, 60, 2, 3, 9, 2)) * unit).flatten(-2)
    torch.testing.assert_close(rotate(x, table), expected, rtol=0, atol=1e-15)


def test_only_relative_positions_matter() -> None:
    q, k = video(1, 1, 1, 1, 24, dtype=torch.float64), video(1, 1, 1, 1, 24, dtype=torch.float64).flip(-1)
    table = rotary_table(4, 16, 16, 24, CPU, torch.float64).reshape(2, 4, 16, 16, 1, 24)

    def product(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
        here, there = (table[:, t, h, w][:, None, None] for t, h, w in (a, b))
        return (rotate(q, here) * rotate(k, there)).sum().item()

    assert product((0, 0, 0), (2, 3, 7)) == pytest.approx(product((1, 9, 4), (3, 12, 11)), abs=1e-12)
    assert product((0, 0, 0), (2, 3, 7)) != pytest.approx(product((0, 0, 0), (2, 7, 3)), abs=1e-3)


def test_tables_are_built_once_a_grid(small: VJEPA21) -> None:
    rotary_table.cache_clear()
    for _ in range(3):
        small(video(1, 3, 4, 48, 32))
    assert rotary_table.cache_info().misses == 1
    small(video(1, 3, 4, 32, 48))
    assert rotary_table.cache_info().misses == 2
    assert rotary_table.cache_info().maxsize == 8


def test_a_table_kept_from_inference_serves_training(small: VJEPA21) -> None:
    rotary_table.cache_clear()
    given = video(1, 3, 2, 32, 32)
    with torch.inference_mode():
        expected = small(given)
    learning = given.requires_grad_()
    features = small(learning)
    features.square().sum().backward()
    assert torch.equal(features.detach(), expected)
    assert learning.grad is not None
    assert learning.grad.isfinite().all()


def test_writing_into_what_the_model_was_given_does_not_spoil_the_tables(small: VJEPA21) -> None:
    given = video(1, 3, 2, 32, 32)
    before = small(given)
    torch.ops.vjepa_stress.rotary_table(1, 2, 2, SMALL.head_dim, CPU, torch.float32).zero_()
    assert torch.equal(small(given), before)


def test_clips_of_a_batch_do_not_see_each_other(small: VJEPA21) -> None:
    both = video(2, 3, 4, 48, 32)
    apart = torch.cat([small(both[:1]), small(both[1:])])
    torch.testing.assert_close(small(both), apart, rtol=0, atol=2e-6)


@pytest.mark.parametrize("rest", [(5, 48, 32), (4, 63, 32), (4, 48, 47), (5, 50, 40)])
def test_what_does_not_fill_a_token_is_dropped(small: VJEPA21, rest: tuple[int, int, int]) -> None:
    whole = video(1, 3, 6, 64, 48)
    assert torch.equal(small(whole[:, :, : rest[0], : rest[1], : rest[2]]), small(whole[:, :, :4, :48, :32]))


def test_patches_are_embedded_as_a_strided_convolution(small: VJEPA21) -> None:
    given = video(2, 3, 5, 50, 40)
    for embed in (small.patch_embed, small.patch_embed_img):
        expected = embed.proj(given).flatten(2).transpose(1, 2)
        torch.testing.assert_close(embed(given), expected, rtol=0, atol=1e-5)


def test_the_last_level_is_the_output(small: VJEPA21) -> None:
    given = video(1, 3, 2, 32, 32)
    levels = small.hierarchical(given)
    assert len(levels) == 4
    assert torch.equal(levels[-1], small(given))


@pytest.mark.parametrize(
    "shape",
    [
        (3, 4, 32, 32),
        (1, 3, 32, 32),
        (1, 1, 4, 32, 32),
        (1, 4, 4, 32, 32),
        (0, 3, 4, 32, 32),
        (1, 3, 0, 32, 32),
        (1, 3, 4, 16, 32),
        (1, 3, 4, 32, 31),
        (1, 3, 4, 0, 32),
        (1, 3, 1, 16, 16),
        (1, 1, 3, 4, 32, 32),
    ],
)
def test_a_video_without_positions_is_refused(small: VJEPA21, shape: tuple[int, ...]) -> None:
    for encode in (small.forward, small.hierarchical):
        with pytest.raises(BadInput, match="expected"):
            encode(torch.zeros(shape))


def test_a_video_shorter_than_a_token_or_of_integers_is_refused(small: VJEPA21) -> None:
    with torch.device("meta"):
        long = VJEPA21(SMALL.model_copy(update={"tubelet_size": 4}))
    with pytest.raises(BadInput, match="3 frames"):
        long(torch.zeros(1, 3, 3, 32, 32))
    with pytest.raises(BadInput, match="uint8"):
        small(torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(
    "mistake",
    [
        {"depth": 13},
        {"depth": 0},
        {"num_heads": 5},
        {"num_heads": 0},
        {"num_heads": 8},  # four channels per head: fewer than a pair for each axis
        {"embed_dim": 14, "num_heads": 2},  # an odd head
        {"mlp_ratio": 0.0},
        {"mlp_ratio": 0.01},
        {"mlp_ratio": math.inf},
        {"patch_size": 0},
        {"tubelet_size": 0},
        {"num_frames": 0},
        {"img_size": 16},
        {"embed_dim": "32"},
        {"qkv_bias": True},
    ],
)
def test_a_config_that_is_no_architecture_is_refused(mistake: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        VJEPA21Config(**(SMALL.model_dump() | mistake))


_COMPILES = """
import torch
from vjepa_stress.encoders.vjepa21 import VJEPA21, VJEPA21Config
model = VJEPA21(VJEPA21Config(embed_dim=32, depth=12, num_heads=2)).eval().requires_grad_(False)
model.blocks = model.blocks[:2]  # the others are the same code
compiled = torch.compile(model, fullgraph=True, backend="eager")
for shape in ((2, 3, 4, 48, 32), (1, 3, 2, 32, 64), (1, 3, 1, 32, 32)):
    video = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(video), model(video), rtol=0, atol=2e-6)
"""


def test_compiles_without_a_graph_break_on_any_shape() -> None:
    # In a separate process, because the shape checks that tests enable must not be compiled.
    subprocess.run([sys.executable, "-c", _COMPILES], check=True, timeout=300)
