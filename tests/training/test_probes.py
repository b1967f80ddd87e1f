import math

import numpy as np
import pytest
import torch

from vjepa_stress.training.probes import (
    Ridge,
    fitted,
    forward_backward_error,
    identity_accuracy,
    spread_of,
)

DRAWS = torch.Generator().manual_seed(0)


def test_ridge_is_least_squares_of_stacked_rows() -> None:
    """Ridge with an intercept is ordinary least squares on data extended by √λ times the identity."""
    x, y = torch.randn(50, 4, generator=DRAWS), torch.randn(50, 2, generator=DRAWS)
    centred, wanted = (t.double().numpy() - t.double().numpy().mean(0) for t in (x, y))
    penalty = 0.3 * (centred**2).sum(0).mean()
    rows = np.vstack([centred, math.sqrt(penalty) * np.eye(4)])
    expected = np.linalg.lstsq(rows, np.vstack([wanted, np.zeros((4, 2))]), rcond=None)[0]
    np.testing.assert_allclose(Ridge.fit(x, y, 0.3).weights, expected, atol=1e-10)


def test_ridge_recovers_an_affine_map_and_does_not_care_for_shifts() -> None:
    x = torch.randn(40, 3, generator=DRAWS).double()
    true = torch.tensor([[1.0, -2.0], [0.5, 0.0], [3.0, 1.0]]).double()
    probe = Ridge.fit(x, x @ true + 5, 1e-12)
    torch.testing.assert_close(probe(x), x @ true + 5)
    torch.testing.assert_close(Ridge.fit(x + 100, x @ true, 0.1)(x + 100), Ridge.fit(x, x @ true, 0.1)(x))


def test_a_fitted_probe_tells_signal_from_noise() -> None:
    def clip(k: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(30, 6, generator=DRAWS)
        return x, torch.stack([2 * x[:, 0] + 0.1 * torch.randn(30, generator=DRAWS)], 1)

    clips = [clip(k) for k in range(30)]
    held_out, wanted = torch.cat([x for x, _ in clips[20:]]), torch.cat([y for _, y in clips[20:]])
    assert (fitted(clips[:20])(held_out) - wanted).square().mean() == pytest.approx(0.01, rel=0.3)
    nothing = [(torch.randn(30, 6, generator=DRAWS), y) for _, y in clips[:20]]
    # Nothing can be said: the mean is.
    error = (fitted(nothing)(held_out) - wanted).square().mean()
    assert error == pytest.approx(float(wanted.var()), rel=0.1)


def test_identity_is_recognised_when_features_are_the_identity_and_not_when_they_are_noise() -> None:
    objects = torch.zeros(8, 12, 12, dtype=torch.int64)
    for t in range(8):
        objects[t, t : t + 3, 2:6] = 1
        objects[t, 7:11, t : t + 4] = 2
    truth = torch.nn.functional.one_hot(objects).float()
    assert identity_accuracy(truth, objects, 1e-3) == 1.0
    noise = [identity_accuracy(torch.randn(8, 12, 12, 4, generator=DRAWS), objects, 1e-3) for _ in range(20)]
    assert np.mean(noise) == pytest.approx(1 / 3, abs=0.05)
    assert math.isnan(identity_accuracy(truth, torch.zeros_like(objects), 1e-3))


def test_forward_backward_error_of_a_world_that_only_moves_is_zero() -> None:
    world = torch.randn(8, 8, 16, generator=DRAWS)
    assert forward_backward_error(world.expand(5, -1, -1, -1), 2) == 0
    # What leaves on one side comes back on the other, so that nothing is lost.
    assert forward_backward_error(torch.stack([world.roll((t, -2 * t), (0, 1)) for t in range(4)]), 8) == 0


def test_forward_backward_error_of_noise_is_the_distance_of_random_patches() -> None:
    """Without a window, noise ends anywhere: the mean distance of two random patches."""
    places = np.stack(np.meshgrid(range(9), range(9)), -1).reshape(-1, 2)
    expected = np.hypot(*(places[:, None] - places).transpose(2, 0, 1)).mean()
    found = np.mean([forward_backward_error(torch.randn(6, 9, 9, 24, generator=DRAWS), 9) for _ in range(30)])
    assert found == pytest.approx(expected, rel=0.1)
    assert forward_backward_error(torch.randn(6, 9, 9, 24, generator=DRAWS), 1) < expected, "a window bounds it"


def test_effective_rank_counts_directions() -> None:
    deviation, rank = spread_of(3 * torch.randn(50_000, 6, generator=DRAWS))
    assert deviation == pytest.approx(3, rel=0.02)
    assert rank == pytest.approx(6, rel=0.01)
    one_direction = torch.randn(1000, 1, generator=DRAWS) * torch.randn(1, 6, generator=DRAWS)
    assert spread_of(one_direction)[1] == pytest.approx(1, abs=1e-6)
    assert spread_of(torch.ones(10, 6)) == (0.0, 1.0), "nothing varies: all has collapsed to one point"
    two = torch.cat([torch.randn(50_000, 2, generator=DRAWS), torch.zeros(50_000, 4)], 1)
    assert spread_of(two)[1] == pytest.approx(2, rel=0.01)
