"""Real video files, made in memory with PyAV, that say in their pixels which frame is which."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from av.video.stream import VideoStream
from torch import Tensor

MP4 = ("mp4", "libx264")
KINDS = (
    MP4,
    ("webm", "libvpx-vp9"),
    ("webm", "libvpx"),
    ("avi", "mpeg4"),
    ("avi", "libx264"),
    ("matroska", "libx264"),
    ("mov", "libx264"),
)


def level(number: int) -> int:
    """Grey level that stands for a frame number below 44."""
    return 20 + 5 * number


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A grey frame whose level is its number, with a white patch in the upper left corner and nowhere else."""
    image = np.full((height, width, 3), level(number), np.uint8)
    image[: height // 4, : width // 4] = 250
    return image


def film(
    container: str = "mp4",
    codec: str = "libx264",
    *,
    frames: int = 40,
    width: int = 64,
    height: int = 48,
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: tuple[int, bool] | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """Encode `picture(0)`, `picture(1)` … at 25 frames a second, or at `times` in milliseconds."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        # Enough bits that a step of one grey level between frames is never skipped.
        stream.bit_rate = 4_000_000
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1])
        output.start_encoding()
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def sound() -> bytes:
    """An MP4 file with a sound track and nothing else."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=16000)
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def numbers(video: Tensor) -> list[int]:
    """Read the frame numbers back from the grey of the centre of decoded frames (3, T, H, W)."""
    height, width = video.shape[2:]
    middle = video[:, :, height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4].double()
    return [round((float(grey) - 20) / 5) for grey in middle.mean(dim=(0, 2, 3))]
