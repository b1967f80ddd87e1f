import numpy as np
import pytest

from vjepa_stress.training.masks import LONG_RANGE, SHORT_RANGE, Blocks, context_weights, draw_mask


@pytest.mark.parametrize(("blocks", "low", "high"), [(SHORT_RANGE, 0.6, 0.85), (LONG_RANGE, 0.75, 0.94)])
def test_masks_hide_what_their_blocks_would(blocks: Blocks, low: float, high: float) -> None:
    draws = np.random.Generator(np.random.PCG64(0))
    masks = np.array([draw_mask(draws, blocks, 12, 12) for _ in range(300)])
    assert low < masks.mean() < high
    assert (~masks).sum((1, 2)).min() >= 0.06 * 144, "too little is left to see"
    hidden = masks.mean(0)
    np.testing.assert_allclose(hidden, hidden[::-1, ::-1], atol=0.15)  # no side is favoured


def test_one_block_is_a_rectangle_of_its_area() -> None:
    draws = np.random.Generator(np.random.PCG64(1))
    for _ in range(50):
        mask = draw_mask(draws, Blocks(1, 0.25), 16, 16)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 0.75 * 64 < mask.sum() < 1.25 * 64


def test_context_weights_fall_with_the_square_root_of_the_distance() -> None:
    hidden = np.zeros((5, 9), bool)
    hidden[:, 0] = True
    expected = np.tile([0.0, *(1 / np.sqrt(np.arange(1, 9)))], (5, 1))
    np.testing.assert_allclose(context_weights(hidden), expected, atol=1e-12)


def test_context_distance_is_to_the_nearest_hidden_patch_by_brute_force() -> None:
    hidden = draw_mask(np.random.Generator(np.random.PCG64(2)), SHORT_RANGE, 12, 12)
    places = np.argwhere(hidden)
    for row, column in np.argwhere(~hidden):
        nearest = np.hypot(*(places - [row, column]).T).min()
        assert context_weights(hidden)[row, column] == pytest.approx(nearest**-0.5)
    assert not context_weights(hidden)[hidden].any()
