"""The occluding disc: its area, its path, its edge."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from vjepa_stress.perturb.occlusion import Occlusion

DISC = Occlusion(area_at_full=0.5, grey=0.5, largest_offset=0.25)
BLACK = torch.zeros(1, 3, 16, 96, 96)


def cover(strength: float, seed: int = 4) -> torch.Tensor:
    """How much of each pixel is covered, (T, H, W)."""
    return DISC(BLACK, strength, [seed])[0, 0] / DISC.grey


def test_a_stronger_disc_covers_what_a_weaker_one_covers() -> None:
    for smaller, larger in pairwise(cover(step / 10) for step in range(1, 11)):
        assert bool((larger >= smaller - 1e-6).all())


@pytest.mark.parametrize("seed", range(6))
def test_the_disc_has_its_area_where_all_of_it_is_in_view(seed: int) -> None:
    disc = cover(0.04, seed)[8]  # 2 % of the frame, at the middle of its path
    rows, columns = torch.nonzero(disc, as_tuple=True)
    assert min(int(rows.min()), int(columns.min())) > 0
    assert max(int(rows.max()), int(columns.max())) < 95
    assert float(disc.mean()) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_the_path_is_straight_even_and_from_border_to_border(seed: int) -> None:
    disc = cover(0.1, seed)
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    centres = torch.stack([torch.stack([(c * rows).sum() / c.sum(), (c * columns).sum() / c.sum()]) for c in disc])
    inside = centres[3:13]  # away from the border, where the disc is cut off
    steps = inside.diff(dim=0)
    assert float((steps - steps.mean(0)).abs().max()) < 0.2
    for end in (disc[0], disc[15]):  # in the first frame and the last, half of the disc or less is in view
        assert 0 < float(end.mean()) < 0.6 * 0.05
        assert max(float(end[0].max()), float(end[-1].max()), float(end[:, 0].max()), float(end[:, -1].max())) > 0


def test_what_is_not_covered_stays_and_the_rest_is_grey() -> None:
    video = torch.rand((2, 3, 4, 32, 48), generator=torch.Generator().manual_seed(0))
    found = DISC(video, 0.5, [1, 2])
    empty = DISC(torch.zeros_like(video), 0.5, [1, 2]) / DISC.grey
    torch.testing.assert_close(found, video * (1 - empty) + DISC.grey * empty)
    assert torch.equal(found[empty == 0], video[empty == 0])
