"""What the benchmark of the pocket models takes for the truth about rendered clips."""

import numpy as np
import torch

from tests.bench.bench_pocket import FRAMES, held_out, mean_correlation, of_patches, rendered, velocities


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
        assert torch.equal(one.motion[one.objects == top][0], motion[(one.objects == top).nonzero()[0, 0], top])
    assert np.median(distances) < 0.5, "half a patch over most of the clip"


def test_mean_correlation_leaves_out_what_does_not_vary() -> None:
    x = np.random.default_rng(0).normal(size=(200, 1))
    columns = np.hstack([x, 2 * x, np.ones((200, 1)), -x])
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mean_correlation(columns), np.mean([1, -1, -1]))
