"""Contact sheets: a few frames of each clip side by side, with the objects of its masks in colour."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from vjepa_stress.interfaces import Sample

SHOWN = 4
"""Number of frames per clip."""

_EDGE, _TEXT = 4, 14


def contact_sheet(samples: Iterable[tuple[str, Sample]], columns: int = 2) -> Image.Image:
    """Draw each clip as its name above a strip of frames, from the first frame to the last.

    Args:
        samples: names and decoded clips of equal size, at least one.
        columns: strips per row.
    """
    strips = [(name, strip(sample)) for name, sample in samples]
    height, width = strips[0][1].shape[:2]
    across, down = min(columns, len(strips)), -(-len(strips) // columns)
    sheet = Image.new("RGB", (across * (width + _EDGE) + _EDGE, down * (height + _TEXT + _EDGE) + _EDGE), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, image) in enumerate(strips):
        x = _EDGE + number % columns * (width + _EDGE)
        y = _EDGE + number // columns * (height + _TEXT + _EDGE)
        # The built-in font has Latin letters only; other letters become question marks.
        draw.text((x, y), name.encode("latin-1", "replace").decode("latin-1"), fill="black")
        sheet.paste(Image.fromarray(image), (x, y + _TEXT))
    return sheet


def strip(sample: Sample) -> UInt8[np.ndarray, "h wide 3"]:
    """Frames of a clip side by side, with the objects of its masks tinted."""
    count = sample.pixels.shape[1]
    chosen = np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)
    frames = sample.pixels[:, chosen].permute(1, 2, 3, 0).numpy().copy()
    if sample.masks is not None:
        ids = sample.masks[chosen].numpy()
        for number in np.unique(ids[ids > 0]):
            inside = ids == number
            frames[inside] = (0.45 * frames[inside] + 0.55 * _colour(int(number))).astype(np.uint8)
    joined: np.ndarray = np.concatenate(frames, axis=1)
    return joined


def _colour(number: int) -> np.ndarray:
    # Hues in steps of the golden ratio: neighbouring numbers get distant colours.
    return 255 * np.array(colorsys.hsv_to_rgb(0.618034 * number % 1.0, 0.85, 1.0))
