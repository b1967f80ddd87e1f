import numpy as np
import torch

from vjepa_stress.digest import sha256
from vjepa_stress.training.stream import training_clip


def clip(index: int, seed: int = 0, frames: int = 8) -> torch.Tensor:
    return training_clip(seed, index, frames=frames, rendered=16, size=64)


def test_a_clip_is_a_function_of_seed_and_index() -> None:
    assert torch.equal(clip(3), clip(3))
    digests = {sha256(clip(index, seed).numpy().tobytes()) for index in range(20) for seed in range(2)}
    assert len(digests) == 40


def test_the_stream_never_changes() -> None:
    """Integer arithmetic and exactly rounded operations only: these bytes are the same on every machine."""
    together = b"".join(clip(index).numpy().tobytes() for index in range(4))
    assert sha256(together).hex == "ba2df1161948ee2de30e2daada27a1c7ca76a33416447166cc6224ee9dcbf25c"


def test_clips_move_and_differ_in_light() -> None:
    clips = torch.stack([clip(index) for index in range(40)]).float()
    steps = clips.diff(dim=2).abs().mean((1, 2, 3, 4))
    assert (steps > 1).float().mean() > 0.9, "most clips move"
    light = clips.mean((1, 2, 3, 4))
    assert light.std() > 10, "some are dark, some are bright"
    drift = (clips[:, :, -1].mean((1, 2, 3)) - clips[:, :, 0].mean((1, 2, 3))).abs()
    assert np.quantile(drift, 0.8) > 5, "light changes within clips"
    assert clip(0).dtype == torch.uint8


def test_a_cut_of_all_frames_is_the_whole_scene() -> None:
    assert clip(5, frames=16).shape == (3, 16, 64, 64)
