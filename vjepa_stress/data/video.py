"""Decode videos from bytes in memory, and apply the release's evaluation transform.

The caller reads a file once; digest and frames come from the same bytes. Frames are numbered from 0 in display order;
time stamps only identify decoded frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.buffer import Buffer
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Int64, UInt8
from torch import Tensor

from vjepa_stress.data.film import AGAIN, opened, steps_between
from vjepa_stress.errors import BadVideo
from vjepa_stress.interfaces import Pixels, one_thread

Ids = Int64[Tensor, "t h w"]
"""Object ids of a clip, 0 for background."""

_CONVERSION = (
    Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
)
"""Chroma is interpolated to full size and rounded exactly; with these flags swscale gives the same result on every
processor. Colour matrix and range are those of the stream, or BT.601 and limited if it declares none."""


_ANGLES = {(False, False, False): 0, (True, False, True): 90, (False, True, True): 180, (True, True, False): 270}


@dataclass(frozen=True)
class Orientation:
    """Orientation of displayed frames relative to stored frames: transposed first, then mirrored.

    Attributes:
        transposed: swap rows and columns.
        mirrored_x: swap left and right.
        mirrored_y: swap top and bottom.
    """

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Transpose and mirror one image (H, W, C)."""
        turned = image.swapaxes(0, 1) if self.transposed else image
        turned = turned[:, ::-1] if self.mirrored_x else turned
        return turned[::-1] if self.mirrored_y else turned

    def __str__(self) -> str:
        """Text for a note: `turned by 90 degrees counter-clockwise`."""
        angle = _ANGLES.get((self.transposed, self.mirrored_x, self.mirrored_y))
        return "mirrored" if angle is None else f"turned by {angle} degrees counter-clockwise"


@dataclass(frozen=True)
class VideoIndex:
    """Properties of a video, from demuxing it and decoding its first frame.

    Attributes:
        frames: number of shown frames.
        pts: presentation time of each frame in display order, in units of `time_base`. AVI stores none; there it is
            the number of the frame.
        time_base: seconds per unit of `pts`.
        variable: whether the intervals between frames differ by more than the rounding of time stamps explains.
        orientation: orientation by the rotation flag.
        width: width as displayed, after rotation, in pixels.
        height: height as displayed, in pixels.
        codec: FFmpeg's name of the codec.
        rate: nominal frames per second; None if the container has none.
    """

    frames: int
    pts: tuple[int, ...]
    time_base: Fraction
    variable: bool
    orientation: Orientation
    width: int
    height: int
    codec: str
    rate: Fraction | None

    def intervals(self) -> tuple[float, float]:
        """Shortest and longest time between two frames, in seconds; (0, 0) for a single frame."""
        steps = steps_between(self.pts) or [0]
        return float(min(steps) * self.time_base), float(max(steps) * self.time_base)


def index(data: bytes, where: object, *, whole: bool = False) -> VideoIndex:
    """Count the frames of a video; decode only the first.

    Args:
        data: the whole file.
        where: name of the file in error messages.
        whole: decode all frames and discard them, to find damage before anything is computed.

    Raises:
        BadVideo: when the bytes are not MP4, MOV, WebM, MKV or AVI, the file has no frames or is truncated, or the
            first frame (with `whole`, any frame) cannot be decoded.
    """
    with opened(data, where) as film:
        frames = film.decoded(0)
        first = next(frames, None)
        if first is None:
            raise BadVideo("no frame of the video can be decoded", where=where, found=film.codec, fix=AGAIN)
        for frame in itertools.chain((first,), frames) if whole else ():
            if frame.is_corrupt:
                raise BadVideo("a frame of the video is damaged", where=where, found=f"pts {frame.pts}", fix=AGAIN)
        orientation = _orientation(first, where)
        width, height = (first.height, first.width) if orientation.transposed else (first.width, first.height)
        return VideoIndex(
            frames=len(film.pts),
            pts=film.pts,
            time_base=film.time_base,
            variable=_is_variable(steps_between(film.pts)),
            orientation=orientation,
            width=width,
            height=height,
            codec=film.codec,
            rate=film.rate,
        )


def remarks(known: VideoIndex) -> tuple[str, ...]:
    """Notes about a video that its clips carry: variable frame rate, rotation flag."""
    notes = []
    if known.variable:
        low, high = (1000 * seconds for seconds in known.intervals())
        notes.append(f"variable frame rate: frames {low:.1f} to {high:.1f} ms apart were counted, not timed")
    if known.orientation != Orientation():
        notes.append(f"rotation flag: {known.orientation}")
    return tuple(notes)


def decode(data: bytes, indices: Sequence[int], where: object) -> Pixels:
    """Decode frames by their display-order indices.

    Args:
        data: the whole file.
        indices: frame numbers from 0, in any order, possibly repeated.
        where: name of the file in error messages.

    Returns:
        (3, T, H, W) 8-bit RGB at the displayed size and orientation, with T = len(indices).

    Raises:
        BadVideo: as `index`; for frames that the video does not have; when the decoder reports an error or a
            concealed frame before the last requested frame; when the frame size changes.
    """
    with opened(data, where) as film:
        beyond = [i for i in indices if not 0 <= i < len(film.pts)]
        if beyond or not indices:
            raise BadVideo(
                "the video does not have the requested frames",
                where=where,
                expected=f"frames 0 to {len(film.pts) - 1}",
                found=beyond[:5] or "no frames",
                fix="use the references that `identify` returns",
            )
        frames = film.collect(set(indices))
        convert = VideoReformatter()
        images = {i: _orientation(f, where).apply(_to_rgb(convert, f, where)) for i, f in frames.items()}
    sizes = {image.shape for image in images.values()}
    if len(sizes) > 1:
        raise BadVideo(
            "the frame size changes within the clip",
            where=where,
            found=sorted(sizes),
            fix="convert the video to one frame size, or remove it from the data set",
        )
    return torch.from_numpy(np.stack([images[i].transpose(2, 0, 1) for i in indices], axis=1))


def fit(frames: Pixels, resolution: int) -> UInt8[Tensor, "3 t {resolution} {resolution}"]:
    """Resize the short side to int(resolution · 256/224) and crop the centre: the release's evaluation transform.

    Args:
        frames: (3, T, H, W) 8-bit RGB of any size; small frames are enlarged.
        resolution: height and width of the result in pixels.

    Returns:
        (3, T, resolution, resolution) 8-bit RGB.

    Source: facebookresearch/vjepa2, `VideoTransform.eval_transform`.
    """
    height, width, top, left = _geometry(frames.shape[2], frames.shape[3], resolution)
    return resize(frames, height, width)[..., top : top + resolution, left : left + resolution].contiguous()


def fit_masks(masks: Ids, resolution: int) -> Int64[Tensor, "t {resolution} {resolution}"]:
    """Apply the geometry of `fit` to object ids (T, H, W), with nearest-neighbour interpolation."""
    height, width, top, left = _geometry(masks.shape[1], masks.shape[2], resolution)
    return resize_masks(masks, height, width)[:, top : top + resolution, left : left + resolution].contiguous()


def resize(frames: Pixels, height: int, width: int) -> UInt8[Tensor, "3 t {height} {width}"]:
    """Resize bilinearly, as OpenCV's INTER_LINEAR: half-pixel centres, no antialiasing, rounded to 8 bits.

    Args:
        frames: (3, T, H, W) 8-bit RGB.
        height: rows of the result.
        width: columns of the result.
    """
    if frames.shape[2:] == (height, width):
        return frames
    with one_thread():  # the rounding of halves depends on how torch distributes rows to threads
        return torch.stack([_bilinear(frame, height, width) for frame in frames.unbind(1)], dim=1)


def resize_masks(masks: Ids, height: int, width: int) -> Int64[Tensor, "t {height} {width}"]:
    """Resize object ids (T, H, W) by nearest neighbour, with half-pixel centres as in `resize`."""
    rows = (2 * torch.arange(height) + 1) * masks.shape[1] // (2 * height)
    columns = (2 * torch.arange(width) + 1) * masks.shape[2] // (2 * width)
    return masks[:, rows][:, :, columns]


def _bilinear(frame: UInt8[Tensor, "3 h w"], height: int, width: int) -> UInt8[Tensor, "3 {height} {width}"]:
    # Frame by frame, because a whole high-definition clip in floating point takes hundreds of megabytes. Channels
    # last, because torch is three times faster with that layout. The values are the same.
    exact = frame[None].float().contiguous(memory_format=torch.channels_last)
    resized = F.interpolate(exact, size=(height, width), mode="bilinear", align_corners=False)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def _geometry(height: int, width: int, crop: int) -> tuple[int, int, int, int]:
    """Rows and columns after resizing, then first row and column of the crop; rounded as in the release."""
    short = int(crop * 256 / 224)
    if width < height:
        tall, wide = int(short * height / width), short
    else:
        tall, wide = short, int(short * width / height)
    return tall, wide, round((tall - crop) / 2), round((wide - crop) / 2)


def _is_variable(steps: Sequence[int]) -> bool:
    """Whether intervals differ by more than a tenth; one tick is rounding, unless it is half an interval."""
    if not steps:
        return False
    shortest, longest = min(steps), max(steps)
    typical = sorted(steps)[len(steps) // 2]
    return (longest - shortest > 1 and 10 * (longest - shortest) > typical) or 2 * longest >= 3 * shortest > 0


def _orientation(frame: av.VideoFrame, where: object) -> Orientation:
    """Read the display matrix: x' = a·x + c·y, y' = b·x + d·y in 16.16 fixed point (libavutil/display.h)."""
    found = cast("Buffer | None", frame.side_data.get("DISPLAYMATRIX"))
    if found is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(found), dtype=np.int32)[:5].tolist()
    straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
    if min(straight, crossed) * 100 > max(straight, crossed):
        raise BadVideo(
            "the rotation flag is not a multiple of 90 degrees",
            where=where,
            found=f"display matrix {a} {b} {c} {d}",
            fix="rotate the video with an editor, or remove it from the data set",
        )
    if crossed > straight:
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


def _to_rgb(convert: VideoReformatter, frame: av.VideoFrame, where: object) -> UInt8[np.ndarray, "h w 3"]:
    try:
        return convert.reformat(frame, format="rgb24", interpolation=_CONVERSION, threads=1).to_ndarray()
    except (av.FFmpegError, ValueError) as error:
        raise BadVideo(
            "the pixels cannot be converted to RGB",
            where=where,
            found=f"{frame.format.name}, colour matrix {frame.colorspace}: {error}",
            fix="convert the video to yuv420p",
        ) from error
