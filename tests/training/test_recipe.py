import json
import math
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from vjepa_stress.provenance import shipped
from vjepa_stress.training.recipe import Recipe

SHIPPED: dict[str, Any] = yaml.safe_load((shipped("conf") / "training" / "pocket.yaml").read_text())


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate_json(json.dumps(SHIPPED | changes), strict=True)


def test_rate_warms_up_to_its_peak_and_falls_as_half_a_cosine() -> None:
    one = recipe(steps=100, warmup=0.1, learning_rate=1.0, last_rate=0.2)
    assert one.rate_at(0) == pytest.approx(0.1)
    assert one.rate_at(9) == pytest.approx(1.0)
    assert one.rate_at(10) == pytest.approx(1.0)
    assert one.rate_at(55) == pytest.approx(0.6)  # half way down, from 1 to 0.2
    assert one.rate_at(100) == pytest.approx(0.2)
    assert one.rate_at(33) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 23 / 90)) / 2)


@pytest.mark.parametrize("steps", [1, 6, 10, 33, 170])
def test_the_rate_never_passes_its_peak(steps: int) -> None:
    one = recipe(steps=steps)
    assert max(one.rate_at(step) for step in range(steps)) <= one.learning_rate


def test_decay_momentum_and_context_weight_follow_their_schedules() -> None:
    one = recipe(
        steps=100, weight_decay=[0.0, 1.0], momentum=[0.5, 0.9], context_weight=2.0, context_from=0.2, context_to=0.6
    )
    assert one.decay_at(25) == pytest.approx(0.25)
    assert one.momentum_at(50) == pytest.approx(0.7)
    assert [one.context_at(step) for step in (0, 20, 40, 60, 99)] == pytest.approx([0, 0, 1, 2, 2])


def test_clips_are_long_at_the_end() -> None:
    one = recipe(steps=10, long_from=0.8, frames=8, rendered_frames=16)
    assert [one.frames_at(step) for step in range(10)] == [8] * 8 + [16] * 2
    assert {recipe(long_from=1.0).frames_at(step) for step in range(SHIPPED["steps"])} == {SHIPPED["frames"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": 9, "together": 8},
        {"frames": 18},
        {"momentum": [0.9, 1.0]},
        {"weight_decay": [-0.1, 0.1]},
        {"context_from": 0.5, "context_to": 0.2},
        {"steps": 0},
        {"learning_rate": "fast"},
        {"lambda": 1},
        {"predictor_heads": 5},
        {"predictor_dim": 16, "predictor_heads": 4},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        recipe(**wrong)
