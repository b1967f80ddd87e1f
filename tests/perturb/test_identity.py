"""The identity changes nothing but values outside [0, 1]."""

from __future__ import annotations

import torch

from tests.perturb.textures import clips
from vjepa_stress.perturb.identity import Identity


def test_it_copies() -> None:
    video = clips(1)
    found = Identity()(video, None, [0])
    assert torch.equal(found, video)
    assert found.data_ptr() != video.data_ptr()


def test_it_clips() -> None:
    video = torch.tensor([-0.5, 0.5, 1.5]).view(1, 3, 1, 1, 1)
    assert Identity()(video, None, [0]).flatten().tolist() == [0.0, 0.5, 1.0]
