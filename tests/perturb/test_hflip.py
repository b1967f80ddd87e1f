"""Mirroring, of pixels and of features."""

from __future__ import annotations

import torch

from tests.perturb.textures import clips
from vjepa_stress.perturb.hflip import HorizontalFlip


def test_left_and_right_change_places_and_twice_is_the_clip_itself() -> None:
    video = clips(2)
    once = HorizontalFlip()(video, None, [0, 0])
    assert all(torch.equal(once[..., x], video[..., 63 - x]) for x in range(64))
    assert torch.equal(HorizontalFlip()(once, None, [0, 0]), video)


def test_alignment_mirrors_columns() -> None:
    features = torch.arange(24.0).view(1, 4, 2, 3, 1)
    back, counterpart = HorizontalFlip().align(features, None)
    assert [float(back[0, 0, 0, x, 0]) for x in range(3)] == [2, 1, 0]
    assert [float(back[0, 3, 1, x, 0]) for x in range(3)] == [23, 22, 21]
    assert bool(counterpart.all())
