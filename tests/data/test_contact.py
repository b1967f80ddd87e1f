"""Contact sheets: which frames are shown, where, and what is tinted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vjepa_stress.data.contact import SHOWN, contact_sheet, strip
from vjepa_stress.digest import sha256
from vjepa_stress.interfaces import Sample


def clip(frames: int = 16, masks: torch.Tensor | None = None) -> Sample:
    """Grey frames, each of the level of its number."""
    levels = torch.arange(frames, dtype=torch.uint8).view(1, frames, 1, 1)
    return Sample(levels.expand(3, frames, 8, 6).contiguous(), sha256(b""), masks)


@pytest.mark.parametrize(("frames", "chosen"), [(16, [0, 5, 10, 15]), (4, [0, 1, 2, 3]), (2, [0, 1]), (1, [0])])
def test_frames_from_the_first_to_the_last(frames: int, chosen: list[int]) -> None:
    image = strip(clip(frames))
    assert image.shape == (8, 6 * len(chosen), 3)
    assert [int(level) for level in image[0, ::6, 0]] == chosen
    assert np.array_equal(
        image, np.repeat(np.array(chosen, np.uint8), 6)[None, :, None] * np.ones((8, 1, 3), np.uint8)
    )


def test_objects_are_tinted_and_everything_else_is_not() -> None:
    pixels = torch.full((3, 16, 8, 8), 100, dtype=torch.uint8)
    masks = torch.zeros(16, 8, 8, dtype=torch.int64)
    masks[:, :4], masks[:, 4:, :2] = 1, 2
    image = strip(Sample(pixels, sha256(b""), masks))
    assert image.shape == (8, 8 * SHOWN, 3)
    assert (image[4:, 2:8] == 100).all()
    tints = {tuple(image[0, 0]), tuple(image[5, 0])}
    assert len(tints) == 2
    assert (100, 100, 100) not in tints
    assert (pixels == 100).all()  # the sample is not written to


@pytest.mark.parametrize(
    ("count", "columns", "grid"), [(1, 2, (1, 1)), (2, 2, (2, 1)), (5, 2, (2, 3)), (3, 1, (1, 3))]
)
def test_strips_are_laid_out_in_columns(count: int, columns: int, grid: tuple[int, int]) -> None:
    sheet = contact_sheet([(str(number), clip()) for number in range(count)], columns)
    width, height = 6 * SHOWN, 8
    assert sheet.size == (grid[0] * (width + 4) + 4, grid[1] * (height + 14 + 4) + 4)
    first = np.asarray(sheet)[4 + 14 : 4 + 14 + height, 4 : 4 + width]
    assert np.array_equal(first, strip(clip()))


def test_a_name_that_the_font_lacks_is_no_error() -> None:
    assert contact_sheet([("a", clip()), ("\u540d", clip())]).mode == "RGB"
