"""Low light is a gamma curve."""

from __future__ import annotations

import pytest
import torch

from vjepa_stress.perturb.low_light import LowLight

RAMP = torch.linspace(0, 1, 3 * 2 * 8 * 8).reshape(1, 3, 2, 8, 8)


@pytest.mark.parametrize(("strength", "gamma"), [(0.25, 2), (0.5, 3), (1.0, 5)])
def test_the_exponent_grows_from_one_with_the_strength(strength: float, gamma: int) -> None:
    torch.testing.assert_close(LowLight(gamma_added_at_full=4.0)(RAMP, strength, [0]), RAMP**gamma)


def test_black_and_white_stay() -> None:
    ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1).expand(2, 3, 2, 4, 4)
    assert torch.equal(LowLight(gamma_added_at_full=4.0)(ends, 0.7, [0, 0]), ends)
