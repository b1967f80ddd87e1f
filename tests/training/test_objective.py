import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vjepa_stress.encoders.released import assemble
from vjepa_stress.encoders.seeded import draw_weights
from vjepa_stress.encoders.vjepa21 import VJEPA21Config
from vjepa_stress.training.objective import Predictor, dense_loss, encode_visible, redundancy, targets

CONFIG = VJEPA21Config(embed_dim=24, depth=12, num_heads=2, patch_size=8)
GRID = (2, 4, 4)
VIDEO = torch.randn(3, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
MODEL = assemble(CONFIG, draw_weights(CONFIG, 0))


def test_a_student_that_sees_everything_is_the_encoder() -> None:
    seen = encode_visible(MODEL, VIDEO, torch.arange(32))
    torch.testing.assert_close(seen, torch.cat(MODEL.hierarchical(VIDEO), -1))


def test_a_student_sees_nothing_of_hidden_tokens_but_knows_where_its_own_are() -> None:
    tube = torch.tensor([0, 3, 5, 16, 19, 21])  # three patches in both positions
    changed = VIDEO.clone()
    hidden = torch.ones(2, 4, 4, dtype=torch.bool).flatten()
    hidden[tube] = False
    pixels = hidden.view(2, 4, 4).repeat_interleave(2, 0).repeat_interleave(8, 1).repeat_interleave(8, 2)
    changed[:, :, pixels] = 7.0
    seen = encode_visible(MODEL, VIDEO, tube)
    torch.testing.assert_close(seen, encode_visible(MODEL, changed, tube), rtol=0, atol=0)
    # The same pixels elsewhere are other tokens: only the position differs.
    moved = VIDEO.roll(8, dims=4)
    assert not torch.allclose(seen, encode_visible(MODEL, moved, tube + 1), atol=1e-3)


def test_targets_are_four_normalised_levels() -> None:
    found = targets(MODEL, VIDEO).reshape(3, 32, 4, 24)
    torch.testing.assert_close(found.mean(-1), torch.zeros(3, 32, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.var(-1, unbiased=False), torch.ones(3, 32, 4), rtol=0, atol=1e-3)
    torch.testing.assert_close(found[..., 2, :], F.layer_norm(MODEL.hierarchical(VIDEO)[2], (24,)))


def test_predictions_depend_on_which_tokens_are_visible_not_on_their_order() -> None:
    torch.manual_seed(0)
    predictor = Predictor(24, CONFIG, depth=2)
    torch.nn.init.normal_(predictor.hidden)
    visible, order = torch.tensor([1, 6, 30, 17]), torch.tensor([2, 0, 3, 1])
    seen = torch.randn(3, 4, 96)
    predicted = predictor(seen, visible, GRID)
    assert predicted.shape == (3, 32, 96)
    torch.testing.assert_close(predicted, predictor(seen[:, order], visible[order], GRID))
    assert not torch.allclose(predicted, predictor(seen, visible[order], GRID), atol=1e-3)


def test_the_loss_is_what_its_formula_says() -> None:
    draws = np.random.default_rng(0)
    predicted, target = draws.normal(size=(2, 3, 6, 8))
    hidden, context = np.array([1, 1, 0, 0, 1, 0.0]), np.array([0, 0, 1.0, 0.5, 0, 0.7])
    error = np.abs(predicted - target).mean((0, 2))
    told = dense_loss(*(torch.from_numpy(x) for x in (predicted, target, hidden, context)))
    np.testing.assert_allclose(told[0], error[[0, 1, 4]].mean())
    np.testing.assert_allclose(told[1], (error[2] + 0.5 * error[3] + 0.7 * error[5]) / 3)


def test_redundancy_is_zero_for_channels_that_vary_and_say_different_things() -> None:
    hadamard = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])[:, 1:]
    levels = torch.cat([2 * hadamard, 3 * hadamard], -1)[None]
    assert redundancy(levels, 2).item() == pytest.approx(0, abs=1e-3)
    same = hadamard[:, :1].expand(4, 3)
    # Three equal channels: six correlations of 1 over three channels, and each deviates by 1.
    assert redundancy(same[None], 1).item() == pytest.approx(2, abs=1e-3)
    assert redundancy(torch.cat([2 * hadamard, same], -1)[None], 2).item() == pytest.approx(1, abs=1e-3)
    # Quiet channels cost what they lack of a deviation of 1.
    assert redundancy(0.25 * hadamard[None], 1).item() == pytest.approx(0.75, abs=1e-2)
