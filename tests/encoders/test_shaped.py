"""Encoders of a custom size: the architecture follows from the fields, which are checked when they are set."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vjepa_stress.encoders.seeded import Seeded
from vjepa_stress.encoders.shaped import Shaped
from vjepa_stress.encoders.stored import Stored
from vjepa_stress.errors import BadInput

SIZES = {"embed_dim": 24, "depth": 12, "num_heads": 2, "mlp_ratio": 2.0, "patch_size": 8, "tubelet_size": 4}


def seeded(**changes: float) -> Seeded:
    return Seeded.model_validate(SIZES | {"weights_seed": 1} | changes)


def test_the_architecture_is_what_the_fields_say() -> None:
    assert seeded().architecture.model_dump(include=set(SIZES)) == SIZES
    assert seeded(embed_dim=48).architecture.head_dim == 24
    assert issubclass(Stored, Shaped)


@pytest.mark.parametrize(
    "wrong", [{"depth": 11}, {"num_heads": 5}, {"num_heads": 8}, {"mlp_ratio": 0.0}, {"patch_size": 0}]
)
def test_an_impossible_architecture_is_refused_before_anything_is_built(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        seeded(**wrong)


@pytest.mark.parametrize(("frames", "resolution"), [(4, 16), (16, 64)])
def test_clips_of_whole_tokens_are_taken(frames: int, resolution: int) -> None:
    seeded().check_input(frames, resolution)


@pytest.mark.parametrize(
    ("frames", "resolution", "where"), [(6, 64, "frames"), (4, 60, "resolution"), (4, 8, "resolution")]
)
def test_clips_of_broken_tokens_are_refused(frames: int, resolution: int, where: str) -> None:
    with pytest.raises(BadInput) as error:
        seeded().check_input(frames, resolution)
    assert error.value.where == where
