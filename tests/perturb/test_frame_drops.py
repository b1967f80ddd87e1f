"""Frame drops, on clips whose pixels say which frame they are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vjepa_stress.perturb.frame_drops import FrameDrops

DROPS = FrameDrops(share_at_full=0.9)


def numbered(frames: int) -> Tensor:
    return (torch.arange(frames) / frames)[None, None, :, None, None].expand(1, 3, frames, 4, 4).contiguous()


def shown(block: FrameDrops, frames: int, strength: float, seed: int) -> list[int]:
    video: Tensor = block(numbered(frames), strength, [seed]) * frames
    assert torch.equal(video, video[:, :1, :, :1, :1].expand_as(video))
    return video[0, 0, :, 0, 0].round().long().tolist()


def test_dropped_frames_are_nested_and_counted() -> None:
    lost_before: set[int] = set()
    for step in range(1, 11):
        seen = shown(DROPS, 16, step / 10, 9)
        lost = {t for t in range(16) if seen[t] != t}
        assert len(lost) == math.floor(0.9 * step / 10 * 15 + 0.5)
        assert lost_before <= lost
        assert 0 not in lost
        for t in range(1, 16):
            assert seen[t] == (seen[t - 1] if t in lost else t)
        lost_before = lost


def test_every_frame_after_the_first_is_lost_equally_often() -> None:
    times, share = torch.zeros(9), FrameDrops(share_at_full=0.5)
    for seed in range(400):
        times += torch.tensor(shown(share, 9, 1.0, seed)) != torch.arange(9)
    assert times[0] == 0
    # A frame is lost in half of the clips; five binomial standard deviations.
    assert float((times[1:] - 200).abs().max()) < 5 * math.sqrt(400 * 0.25)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_all_frames_lost_leave_the_first(frames: int) -> None:
    assert shown(FrameDrops(share_at_full=1.0), frames, 1.0, 0) == [0] * frames
