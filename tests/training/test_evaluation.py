"""What the benchmark of the pocket models takes for the truth about rendered clips."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.bench.bench_pocket import (
    FIT,
    FRAMES,
    GALLERY,
    SHOTS,
    Gallery,
    footage_errors,
    held_out,
    mean_correlation,
    model,
    of_objects,
    of_patches,
    read_footage,
    rendered,
    velocities,
)
from vjepa_stress.blocks import ClipRef
from vjepa_stress.data.folder import Folder
from vjepa_stress.errors import BadVideo
from vjepa_stress.sweep.bind import Blocks


def test_a_patch_shows_the_object_that_most_of_its_pixels_show() -> None:
    grid = torch.zeros(4, 16, 16, dtype=torch.int64)
    grid[:2, :8, 8:] = 2  # one whole patch
    grid[:2, 8:, :3] = 1  # three of eight columns: a minority
    grid[2, 8:, 8:] = 3  # one of two frames: as many pixels as the background, which has the lower number
    grid[2:, :8, :5] = 4
    expected = torch.tensor([[[0, 2], [0, 0]], [[4, 0], [0, 0]]])
    assert torch.equal(of_patches(grid), expected)


def test_velocities_are_how_masks_move() -> None:
    """The uppermost object is never hidden: the middle of its mask goes where its centre goes."""
    clips = held_out()[0].model_copy(update={"n_clips": 20})
    distances = []
    for number, one in enumerate(rendered(clips)):
        motion = velocities(clips, number)
        assert motion.shape[0] == FRAMES // 2
        top = motion.shape[1] - 1
        masks = one.sample.masks
        assert masks is not None
        middles = [(masks[t] == top).nonzero().double().mean(0).flip(0) / 8 for t in range(2, FRAMES - 2)]
        moved = (torch.stack(middles[1:]) - torch.stack(middles[:-1])).sum(0)
        # Differences over two frames a position: the inner six span twelve frames, the middles eleven.
        distances.append(float(torch.linalg.vector_norm(motion[1:-1, top].sum(0) * 11 / 12 - moved)))
        assert torch.equal(one.facts, motion)
    assert np.median(distances) < 0.5, "half a patch over most of the clip"


def test_objects_of_a_gallery_look_the_same_in_every_clip_and_move_otherwise() -> None:
    look = held_out()[0].model_dump(exclude={"n_clips", "first_index"})
    clips = [Gallery(**look, first_index=first, n_clips=n) for first, n in ((0, 10), (120, FIT))]
    seen: dict[int, list[tuple[bytes, float]]] = {}
    for series in clips:
        for index in range(series.first_index, series.first_index + series.n_clips):
            scene, facts = series.scene(index, FRAMES), series.names(index)
            assert not facts[:, 0].any(), "the background is no object of the gallery"
            assert torch.equal(facts[:, 1:].sum(-1), torch.ones(FRAMES // 2, len(scene.objects), dtype=torch.double))
            for layer, name in zip(scene.objects, facts[0, 1:].argmax(1).tolist(), strict=True):
                seen.setdefault(name, []).append((layer.texture.tobytes(), float(layer.x[0])))
    assert sorted(seen) == list(range(GALLERY))
    looks = {name: {texture for texture, _ in of} for name, of in seen.items()}
    assert all(len(of) == 1 for of in looks.values())
    assert len(set.union(*looks.values())) == GALLERY
    assert all(len({place for _, place in of}) == len(of) > 10 for of in seen.values())


def test_what_is_asked_of_objects_is_paired_with_their_own_patches() -> None:
    """Features that are the object's number give rows whose facts are that object's."""
    clips = rendered(held_out()[0].model_copy(update={"n_clips": 5}))
    for (x, y), one in zip(of_objects([c.objects[..., None].double() for c in clips], clips), clips, strict=True):
        numbers = x[:, 0].long()
        at = [int(t) for t in range(len(one.objects)) for k in range(1, 5) if (one.objects[t] == k).any()]
        assert torch.equal(y, torch.stack([one.facts[t, k] for t, k in zip(at, numbers, strict=True)]))


def test_clips_of_footage_cross_no_hard_cut_and_leave_nothing_out() -> None:
    videos = Blocks().dataset("footage")
    assert isinstance(videos, Folder)
    for name, cuts in SHOTS.items():
        source = next(clip.source for clip in videos.identify(None, FRAMES) if clip.name.startswith(name))
        whole = videos.read(ClipRef.of(name + "#0", source, range(cuts[-1])), None, 32).pixels.float()
        changes = (whole[:, 1:] - whole[:, :-1]).abs().mean((0, 2, 3))
        # The fastest motion changes a pixel by 25 of 255 grey levels, a cut by 45 and more.
        assert ((changes > 35).nonzero()[:, 0] + 1).tolist() == list(cuts[1:-1])
        with pytest.raises(BadVideo):
            videos.read(ClipRef.of(name + "#0", source, range(cuts[-1] + 1)), None, 32)
    shots = [end - begin for cuts in SHOTS.values() for begin, end in pairwise(cuts)]
    assert [len(read_footage(step)) for step in (1, 2)] == [sum(n // span for n in shots) for span in (16, 31)]


def test_torn_clips_tell_features_of_places_from_features_of_contents() -> None:
    places = torch.randn(12, 12, 32, generator=torch.Generator().manual_seed(0)).expand(1, 8, -1, -1, -1)
    found = footage_errors(lambda _: places, 2)
    assert found == {"footage_2": [0.0] * 7, "footage_2_torn": [0.0] * 7}
    found = footage_errors(model("pixels_8"), 2)
    assert np.mean(found["footage_2_torn"]) > 1.3 * np.mean(found["footage_2"])


def test_mean_correlation_leaves_out_what_does_not_vary() -> None:
    x = np.random.default_rng(0).normal(size=(200, 1))
    columns = np.hstack([x, 2 * x, np.ones((200, 1)), -x])
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mean_correlation(columns), np.mean([1, -1, -1]))
