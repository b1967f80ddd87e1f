"""Rendered textures, bit-identical on every machine.

Only operations with results that IEEE 754 or integer arithmetic determines are used: + − × / sqrt, floor,
comparisons. There is no sine, exponential or power, whose last bit differs between libraries, and no sum over arrays,
whose order differs.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt64


class Draws:
    """Random numbers from the raw bits of PCG64, which numpy guarantees."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def unit(self, *shape: int) -> Float64[np.ndarray, ...]:
        """Multiples of 2**-53 in [0, 1), of the given shape."""
        raw: UInt64[np.ndarray, " n"] = self._bits.random_raw(math.prod(shape))
        return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def below(self, count: int) -> int:
        """An integer in 0 … count − 1."""
        return int(self._bits.random_raw()) * count >> 64

    def sign(self) -> float:
        """−1 or 1."""
        return 2.0 * self.below(2) - 1.0


def smooth(part: Float64[np.ndarray, ...]) -> Float64[np.ndarray, ...]:
    """3t² − 2t³: from 0 to 1 with zero slope at both ends."""
    eased: Float64[np.ndarray, ...] = part * part * (3.0 - 2.0 * part)
    return eased


def value_noise(draws: Draws, side: int, cells: float, octaves: int) -> Float64[np.ndarray, "side side"]:
    """Smooth random field: the weighted sum of smoothly interpolated random lattices of increasing resolution.

    Args:
        draws: source of the lattice values.
        side: rows and columns of the field.
        cells: lattice cells along a side in the coarsest octave; each further octave doubles the number.
        octaves: number of lattices; each has 0.6 times the weight of the previous one.

    Returns:
        (side, side) with minimum 0 and maximum 1.
    """
    field = np.zeros((side, side))
    weight = 1.0
    for octave in range(octaves):
        across = cells * 2**octave
        at = (np.arange(side) + 0.5) * (across / side)
        low = np.floor(at).astype(np.int64)
        part = smooth(at - low)
        # The number of values does not depend on the side: a seed gives the same scene at every size.
        lattice = draws.unit(math.ceil(across) + 1, math.ceil(across) + 1)
        rows = lattice[low] + (lattice[low + 1] - lattice[low]) * part[:, None]
        field += weight * (rows[:, low] + (rows[:, low + 1] - rows[:, low]) * part)
        weight *= 0.6
    lowest, highest = field.min(), field.max()
    stretched: Float64[np.ndarray, "side side"] = (field - lowest) / (highest - lowest)
    return stretched


def paint(draws: Draws, side: int, hue: float, vivid: bool) -> UInt8[np.ndarray, "side side 3"]:
    """A textured square: two colours mixed by a pattern, a third colour mixed in by noise, and fine grain.

    Args:
        draws: source of pattern and colours.
        side: rows and columns.
        hue: hue of the main colour, in [0, 1).
        vivid: True for objects: saturated and bright. False for backgrounds: muted, with a coarser pattern.
    """
    strong = draws.between(0.65, 1.0) if vivid else draws.between(0.1, 0.45)
    main = _colour(hue, strong, draws.between(0.6, 1.0) if vivid else draws.between(0.35, 0.8))
    accents = [
        _colour(hue, strong * 0.9, draws.between(0.12, 0.3)),
        _colour(hue + draws.between(0.12, 0.3), strong, draws.between(0.5, 1.0)),
        _colour(hue, draws.between(0.0, 0.25), draws.between(0.85, 1.0)),
    ]
    accent = accents.pop(draws.below(3))
    third = accents[draws.below(2)]
    coarse = 2.0 if vivid else 4.0
    pattern = _PATTERNS[draws.below(len(_PATTERNS))](draws, side, coarse)
    depth = 0.9 if vivid else draws.between(0.35, 0.8)
    blend = value_noise(draws, side, coarse * draws.between(0.8, 1.5), 3)
    blend = smooth(np.minimum(np.maximum(2.0 * blend - 0.75, 0.0), 1.0)) * (0.5 if vivid else 0.8)
    grain = 0.62 + 0.5 * value_noise(draws, side, 3 * coarse, 3)
    image = np.empty((side, side, 3), np.uint8)
    for channel in range(3):
        tone = main[channel] + (accent[channel] - main[channel]) * (depth * pattern)
        tone = (tone + (third[channel] - tone) * blend) * grain
        image[..., channel] = np.floor(255.0 * np.minimum(tone, 1.0) + 0.5).astype(np.uint8)
    return image


def pack(image: UInt8[np.ndarray, "h w 3"], inside: Bool[np.ndarray, "h w"]) -> UInt64[np.ndarray, "h w"]:
    """Pack red, green, blue and coverage into four 16-bit lanes of one integer per texel.

    The upper half of each lane leaves room for a weight of 0 … 256, so that one multiplication weights four channels.
    """
    lanes = [image[..., 0], image[..., 1], image[..., 2], np.where(inside, np.uint8(255), np.uint8(0))]
    packed = np.zeros(inside.shape, np.uint64)
    for index, lane in enumerate(lanes):
        packed |= lane.astype(np.uint64) << np.uint64(16 * index)
    return packed


def sample(
    packed: UInt64[np.ndarray, "h w"], x: Int64[np.ndarray, ...], y: Int64[np.ndarray, ...]
) -> UInt64[np.ndarray, ...]:
    """Bilinear sampling in integer arithmetic.

    Args:
        packed: texels from `pack`.
        x: column of each sample in units of 1/65536 texel; 0 is the centre of texel 0; clamped to the texture.
        y: row of each sample, likewise.

    Returns:
        The four lanes, each 256 times as large as in `packed`; read them with `covered` and `unpack`.
    """
    height, width = packed.shape
    x = np.minimum(np.maximum(x, 0), ((width - 1) << 16) - 1)
    y = np.minimum(np.maximum(y, 0), ((height - 1) << 16) - 1)
    at = (y >> 16) * width + (x >> 16)
    right, down = ((x >> 8) & 255).view(np.uint64), ((y >> 8) & 255).view(np.uint64)
    both = (right * down) >> np.uint64(8)
    right -= both
    down -= both
    texels = packed.reshape(-1)
    mixed: UInt64[np.ndarray, ...] = texels[width + 1 :].take(at)
    mixed *= both
    both += right
    both += down
    for offset, weight in ((0, np.uint64(256) - both), (1, right), (width, down)):
        corner = texels[offset:].take(at)
        corner *= weight
        mixed += corner
    return mixed


def covered(mixed: UInt64[np.ndarray, ...]) -> Bool[np.ndarray, ...]:
    """Where the sample is on the object: coverage, the topmost lane, is one half or more."""
    return mixed >= np.uint64(1 << 63)


def unpack(mixed: UInt64[np.ndarray, ...]) -> UInt8[np.ndarray, "... 3"]:
    """Red, green and blue of samples, rounded down to 8 bits."""
    lanes = mixed.astype("<u8", copy=False).view("<u2").reshape(*mixed.shape, 4)
    return (lanes[..., :3] >> 8).astype(np.uint8)


def _colour(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """RGB in [0, 1] of a hue, saturation and value; piecewise linear and therefore exact."""
    corners = [(6.0 * hue + shift) % 6.0 for shift in (5.0, 3.0, 1.0)]
    red, green, blue = (value - value * saturation * max(0.0, min(k, 4.0 - k, 1.0)) for k in corners)
    return red, green, blue


def _axes(draws: Draws, side: int) -> tuple[Float64[np.ndarray, "s s"], Float64[np.ndarray, "s s"]]:
    """Two orthogonal coordinates of the square [−1, 1]², rotated by a random angle."""
    line = (2.0 * np.arange(side) + 1.0) / side - 1.0
    half = draws.between(-1.0, 1.0)
    cos, sin = (1.0 - half * half) / (1.0 + half * half), 2.0 * half / (1.0 + half * half)
    return cos * line + sin * line[:, None], cos * line[:, None] - sin * line


def _clouds(draws: Draws, side: int, coarse: float) -> Float64[np.ndarray, "side side"]:
    noise = value_noise(draws, side, coarse * draws.between(1.0, 2.0), 4)
    return smooth(np.minimum(np.maximum(2.5 * noise - 0.75, 0.0), 1.0))


def _stripes(draws: Draws, side: int, coarse: float) -> Float64[np.ndarray, "side side"]:
    across, _ = _axes(draws, side)
    bend = value_noise(draws, side, coarse, 2) * draws.between(0.0, 1.5)
    phase = across * (coarse * draws.between(0.8, 1.6)) + bend
    wave = np.abs(2.0 * (phase - np.floor(phase)) - 1.0)
    stripes: Float64[np.ndarray, "side side"] = np.minimum(np.maximum(4.0 * wave - 1.5, 0.0), 1.0)
    return stripes


def _checks(draws: Draws, side: int, coarse: float) -> Float64[np.ndarray, "side side"]:
    across, along = _axes(draws, side)
    bend = value_noise(draws, side, coarse, 2) * draws.between(0.0, 0.6)
    many = coarse * draws.between(0.8, 1.5)
    cells = np.floor(across * many + bend) + np.floor(along * many - bend)
    parity: Float64[np.ndarray, "side side"] = cells - 2.0 * np.floor(cells / 2.0)
    return parity


def _spots(draws: Draws, side: int, coarse: float) -> Float64[np.ndarray, "side side"]:
    across, along = _axes(draws, side)
    many = coarse * draws.between(1.0, 1.8)
    count = int(4.0 * many) + 4
    column, row = np.floor(across * many).astype(np.int64), np.floor(along * many).astype(np.int64)
    middle = 0.35 + 0.3 * draws.unit(2, count, count)
    radius = 0.18 + 0.16 * draws.unit(count, count)
    cell = (row + count // 2, column + count // 2)
    x, y = across * many - column - middle[0][cell], along * many - row - middle[1][cell]
    edge = 6.0 * (radius[cell] - np.sqrt(x * x + y * y)) + 0.5
    spots: Float64[np.ndarray, "side side"] = np.minimum(np.maximum(edge, 0.0), 1.0)
    return spots


_PATTERNS = (_clouds, _stripes, _checks, _spots)
