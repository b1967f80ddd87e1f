"""Compression: the same pixels each time, loss that grows, odd sides."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from tests.perturb.textures import clips
from vjepa_stress.perturb.compression import Compression

CODEC = Compression(crf_lowest=18, crf_added_at_full=33)


def test_compressing_again_and_again_gives_the_same_pixels() -> None:
    video = clips(2)
    first = CODEC(video, 0.5, [0, 0])
    assert not torch.equal(first, video)
    for _ in range(20):
        assert torch.equal(CODEC(video, 0.5, [0, 0]), first)


def test_it_is_lossy_in_place_and_grows() -> None:
    video = clips(1, 33, 47)  # odd sides are padded for the codec and cut again
    distances = [float((CODEC(video, s, [0]) - video).abs().mean()) for s in (0.1, 0.5, 1.0)]
    assert 0 < distances[0] < distances[1] < distances[2] < 0.1


def test_results_are_eight_bit() -> None:
    levels = CODEC(clips(1), 0.5, [0]) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_strengths_of_one_rate_factor_are_one_result() -> None:
    video = clips(1, frames=4)
    # 18 + 33·s rounds to 34 and to 35.
    found = [CODEC(video, s, [0]) for s in (0.48, 0.49, 0.52)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    worst = Compression(crf_lowest=51, crf_added_at_full=51)
    assert torch.equal(worst(video, 0.1, [0]), worst(video, 1.0, [0]))  # 51 is as far as the codec goes


@pytest.mark.parametrize("fields", [{"crf_lowest": -1}, {"crf_lowest": 52}, {"crf_added_at_full": 52}])
def test_rate_factors_have_a_range(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Compression(**{"crf_lowest": 18, "crf_added_at_full": 33} | fields)
