"""Rendered clips: pinned bits, exact masks, an independent look-up of the textures, and their identity."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage

from vjepa_stress.blocks import ClipRef
from vjepa_stress.data import scene, shape, texture
from vjepa_stress.data.procedural import Procedural, render
from vjepa_stress.data.scene import Scene, compose, draw
from vjepa_stress.data.texture import Draws
from vjepa_stress.data.video import resize, resize_masks
from vjepa_stress.digest import sha256
from vjepa_stress.errors import BadInput

CONF = Path(__file__).parents[2] / "conf" / "data"
SEEDS = range(30)


def composed(seed: int, frames: int = 16, size: int = 96, **look: float) -> Scene:
    chosen = {"most_objects": 4, "travel": 0.35, "camera": 0.25} | look
    return compose(Draws(seed), frames, size, int(chosen["most_objects"]), chosen["travel"], chosen["camera"])


@pytest.mark.parametrize(
    ("seed", "frames", "size", "pixels", "masks"),
    [
        (0, 16, 96, "995d31e71c15", "edb358ce3293"),
        (1, 16, 128, "bdadadc012ed", "aba7d31bcc39"),
        (2**200 + 7, 4, 101, "1c4e43701d0a", "26463ccf14d1"),
    ],
)
def test_the_bits_never_change(seed: int, frames: int, size: int, pixels: str, masks: str) -> None:
    video, ids = render(seed, frames=frames, size=size)
    assert video.shape == (frames, size, size, 3)
    assert ids.shape == (frames, size, size)
    assert video.dtype == ids.dtype == np.uint8
    assert (sha256(video.tobytes()).short, sha256(ids.tobytes()).short) == (pixels, masks)


def test_only_exact_operations_are_used() -> None:
    """No function whose last bit depends on a library, and no sum whose order depends on a processor."""
    allowed = {"abs", "arange", "broadcast_to", "ceil", "copyto", "count_nonzero", "empty", "floor", "maximum"}
    allowed |= {"minimum", "ones", "prod", "sqrt", "where", "zeros", "array", "PCG64", "random", "ndarray"}
    allowed |= {"int64", "uint8", "uint64"}
    for module in (scene, shape, texture):
        tree = ast.parse(inspect.getsource(module))
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and (ast.unparse(node.value) in {"np", "np.random", "math"})
        }
        assert used <= allowed
        # Nor methods that add up, nor matrix products.
        methods = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not methods & {"sum", "mean", "std", "var", "dot", "cumsum", "normal", "exponential"}
        assert not any(isinstance(node, ast.MatMult) for node in ast.walk(tree))
        # `**` appears with integers and powers of two only.
        powers = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)]
        assert {ast.unparse(node) for node in powers} <= {"2 ** octave", "2.0 ** (-53)", "2.0 ** -53", "64 ** 2"}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_frame_shows_every_object_whole(seed: int) -> None:
    made = composed(seed)
    _, ids = draw(made, 1, 96)
    for number, layer in enumerate(made.objects, start=1):
        _, alone = draw(Scene(made.background, (layer,)), 1, 96)
        assert np.array_equal(alone[0] == 1, ids[0] == number)
        assert (ids[0] == number).mean() >= 0.015
        # No part of it is outside the frame: moved by whole pixels to the middle it covers as much.
        right, down = (np.round((0.5 - float(axis[0])) * 96) / 96 for axis in (layer.x, layer.y))
        middle = replace(layer, x=layer.x + right, y=layer.y + down)
        _, centred = draw(Scene(made.background, (middle,)), 1, 96)
        assert (centred == 1).sum() == pytest.approx((alone == 1).sum(), rel=0.005)
    assert set(np.unique(ids)) == set(range(len(made.objects) + 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_higher_ids_hide_lower_ones(seed: int) -> None:
    made = composed(seed)
    video, ids = draw(made, 16, 96)
    outlines = [draw(Scene(made.background, (layer,)), 16, 96) for layer in made.objects]
    expected = np.zeros_like(ids)
    for number, (_, outline) in enumerate(outlines, start=1):
        expected[outline == 1] = number
    assert np.array_equal(ids, expected)
    # Each pixel is the whole colour of the object its id names, or of the background.
    empty, _ = draw(Scene(made.background, ()), 16, 96)
    assert np.array_equal(video[ids == 0], empty[ids == 0])
    for number, (picture, _) in enumerate(outlines, start=1):
        assert np.array_equal(video[ids == number], picture[ids == number])


def test_objects_hide_one_another_often() -> None:
    hidden = several = 0
    for seed in range(60):
        made = composed(seed, frames=8, size=48)
        if len(made.objects) < 2:
            continue
        several += 1
        _, ids = draw(made, 8, 48)
        alone = [draw(Scene(made.background, (layer,)), 8, 48)[1].sum((1, 2)) for layer in made.objects]
        seen = [(ids == number).sum((1, 2)) for number in range(1, len(alone) + 1)]
        hidden += any((s < 0.8 * a).any() for s, a in zip(seen, alone, strict=True))
    assert several > 30
    assert hidden > 0.6 * several


@pytest.mark.parametrize("seed", range(6))
def test_pixels_are_the_textures_where_the_motion_puts_them(seed: int) -> None:
    """Look every pixel up again in floating point, with arc tangents and scipy's interpolation."""
    made = composed(seed, frames=5, size=64)
    video, ids = draw(made, 5, 64)
    centres = (np.arange(64) + 0.5) / 64
    for t in range(5):
        for number, layer in enumerate((made.background, *made.objects)):
            angle = 2 * np.arctan(layer.turn[t])
            x, y = centres[None] - layer.x[t], centres[:, None] - layer.y[t]
            across, down = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            side = layer.texture.shape[0]
            at = [(axis / layer.reach[t] + 1) / 2 * side - 0.5 for axis in (down, across)]
            lanes = [((layer.texture >> np.uint64(16 * lane)) & np.uint64(255)).astype(float) for lane in range(4)]
            looked = np.stack([ndimage.map_coordinates(lane, at, order=1, mode="nearest") for lane in lanes], -1)
            here = ids[t] == number
            # Rounded down, with weights of 1/256 and steps of 1/65536 texel.
            assert np.abs(looked[here][:, :3] - video[t][here] - 0.5).max() < 3.5
            if number:
                assert (looked[here][:, 3] > 120).all()
                later = ids[t] > number
                assert (looked[~here & ~later][:, 3] < 136).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_moves_far_enough(seed: int) -> None:
    made = composed(seed)
    for layer in made.objects:
        assert np.hypot(layer.x[-1] - layer.x[0], layer.y[-1] - layer.y[0]) >= 0.35 - 1e-9
        steps = np.hypot(np.diff(layer.x), np.diff(layer.y))
        # Smooth: no step is far from its neighbours.
        assert np.abs(np.diff(steps)).max() < 0.02
        assert layer.reach.min() > 0.6 * layer.reach[0]
    panned = np.hypot(np.ptp(made.background.x), np.ptp(made.background.y))
    assert 0.4 * 0.25 <= panned <= 0.25


def test_textures_are_rich_and_objects_stand_out() -> None:
    contrast, distance, grain = [], [], []
    for seed in range(40):
        video, ids = render(seed, frames=2, size=96)
        picture = video[0].astype(float)
        grain.append(np.abs(np.diff(picture, axis=0)).mean())
        for number in range(1, ids[0].max() + 1):
            inside = picture[ids[0] == number]
            contrast.append(inside.std(0).max())
            distance.append(np.abs(inside.mean(0) - picture[ids[0] == 0].mean(0)).max())
    assert np.quantile(contrast, 0.05) > 12
    assert np.quantile(distance, 0.05) > 20
    assert np.mean(grain) > 4


def test_a_seed_shows_one_scene_at_every_size_and_rate() -> None:
    for seed in range(8):
        small, large = render(seed, frames=16, size=64)[1], render(seed, frames=16, size=128)[1]
        assert (resize_masks(torch.from_numpy(large).long(), 64, 64).numpy() == small).mean() > 0.98
        few = render(seed, frames=4, size=64)[1]
        assert np.array_equal(few, small[::5])


def test_the_motion_of_one_frame() -> None:
    video, ids = render(3, frames=1, size=48)
    assert np.array_equal(ids, render(3, frames=16, size=48)[1][:1])
    assert video.shape == (1, 48, 48, 3)


def test_the_look_can_be_set() -> None:
    for seed in range(12):
        assert render(seed, frames=1, size=48, max_objects=1)[1].max() == 1
        made = composed(seed, travel=0.5, camera=0.0)
        assert np.ptp(made.background.x) == 0
        assert all(np.hypot(o.x[-1] - o.x[0], o.y[-1] - o.y[0]) >= 0.5 - 1e-9 for o in made.objects)


def configured(name: str) -> Procedural:
    fields = yaml.safe_load((CONF / name).read_text())
    assert fields.pop("_target_") == "vjepa_stress.data.procedural.Procedural"
    return Procedural.model_validate(fields)


def test_the_clips_that_ship() -> None:
    data_set = configured("procedural.yaml")
    clips = data_set.identify(None, 16)
    assert len(clips) == 30
    assert clips[0].name == "procedural/000000"
    assert clips[0].frames == tuple(range(16))
    assert clips[0].source == "sha256:ec284a6e95b45a4ea4b22a30a4b250a4054e068ced3ad23ba8c9d8d4d32fe310"
    sample = data_set.read(clips[0], None, 128)
    assert sample.digest == clips[0].digest
    assert sample.pixels.shape == (3, 16, 128, 128)
    assert sample.masks is not None
    assert sample.masks.shape == (16, 128, 128)
    assert sample.masks.dtype == torch.int64
    demo = configured("demo_procedural.yaml").identify(None, 16)
    assert len(demo) == 6
    assert not {clip.digest for clip in demo} & {clip.digest for clip in clips}


def small(**fields: object) -> Procedural:
    look = {"n_clips": 4, "first_index": 0, "render_seed": 1, "size": 64}
    return Procedural.model_validate(look | {"max_objects": 4, "travel": 0.35, "camera": 0.25} | fields)


def test_identity_is_everything_that_decides_the_pixels_and_nothing_else() -> None:
    clips = small().identify(None, 4)
    assert small(n_clips=2, first_index=2).identify(Path("anywhere"), 4) == clips[2:]
    for other in ({"render_seed": 2}, {"size": 65}, {"max_objects": 3}, {"travel": 0.3}, {"camera": 0.2}):
        assert not {c.digest for c in small(**other).identify(None, 4)} & {c.digest for c in clips}
    assert small().identify(None, 5)[0].digest != clips[0].digest


def test_reading_resizes_like_footage() -> None:
    data_set = small()
    clip = data_set.identify(None, 4)[1]
    whole, half = data_set.read(clip, None, 64), data_set.read(clip, None, 48)
    assert whole.digest == half.digest == clip.digest
    assert whole.masks is not None
    assert half.masks is not None
    video, ids = render(int(clip.source.hex, 16), frames=4, size=64)
    assert np.array_equal(whole.pixels.permute(1, 2, 3, 0).numpy(), video)
    assert np.array_equal(whole.masks.numpy(), ids)
    assert torch.equal(half.pixels, resize(whole.pixels, 48, 48))
    assert torch.equal(half.masks, resize_masks(whole.masks, 48, 48))


def test_a_false_name_shows_in_the_digest() -> None:
    data_set = small()
    first, second = data_set.identify(None, 4)[:2]
    swapped = first.model_copy(update={"name": second.name})
    assert data_set.read(swapped, None, 64).digest == second.digest != first.digest
    for name in ("000001", "procedural/", "procedural/-1", "procedural/1.5", "procedural/\u0661"):
        with pytest.raises(BadInput, match="not the name of a rendered clip"):
            data_set.read(first.model_copy(update={"name": name}), None, 64)
    for frames in ((1, 2), (0, 2)):
        with pytest.raises(BadInput, match="in order from 0"):
            data_set.read(ClipRef.of(first.name, first.source, frames), None, 64)
