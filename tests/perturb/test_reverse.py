"""Reversal of time, of pixels and of features."""

from __future__ import annotations

import torch

from tests.perturb.textures import clips
from vjepa_stress.perturb.reverse import Reverse


def test_frames_come_in_reverse_and_twice_is_the_clip_itself() -> None:
    video = clips(2)
    once = Reverse()(video, None, [0, 0])
    assert all(torch.equal(once[:, :, t], video[:, :, 15 - t]) for t in range(16))
    assert torch.equal(Reverse()(once, None, [0, 0]), video)


def test_alignment_reverses_positions_in_time() -> None:
    features = torch.arange(24.0).view(1, 4, 2, 3, 1)
    back, counterpart = Reverse().align(features, None)
    assert [float(back[0, t, 0, 0, 0]) for t in range(4)] == [18, 12, 6, 0]
    assert counterpart.shape == (2, 3)
    assert bool(counterpart.all())
