"""Lossy video compression."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import av
import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from vjepa_stress.interfaces import Perturbation, Video


class Compression(Perturbation):
    """Each clip encoded and decoded with H.264 (libx264, 4:2:0) at a constant rate factor.

    The rate factor is ⌊crf_lowest + crf_added_at_full · s + ½⌋. The codec uses one thread and the encoder's plain C
    code, because its AVX-512 code is not deterministic. Other builds of the codec may give other results. Clips with
    odd sides are padded by repeating the last row or column.

    Attributes:
        crf_lowest: rate factor in the limit of strength 0.
        crf_added_at_full: increase of the rate factor at strength 1; the largest rate factor is 51.
    """

    kind = "perturbation/compression"
    revision = 1
    role = "tier2"
    family = "image-noise"
    correspondence = "in-place"

    crf_lowest: int = Field(ge=0, le=51)
    crf_added_at_full: int = Field(ge=0, le=51)

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:  # noqa: ARG002
        """Compress the clips; `seeds` is not used."""
        if not strength:
            return video.clone()
        factor = min(51, self.crf_lowest + math.floor(self.crf_added_at_full * strength + 0.5))
        clips = [self._round_trip(clip.cpu(), factor) for clip in video]
        return torch.stack(clips).to(video.device, video.dtype)

    @staticmethod
    def _round_trip(clip: Float[Tensor, "3 t h w"], factor: int) -> Float[Tensor, "3 t h w"]:
        frames: UInt8[np.ndarray, "t h w 3"] = (clip * 255).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
        height, width = frames.shape[1:3]
        padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = padded.shape[2], padded.shape[1], "yuv420p"
            stream.options = {"crf": str(factor), "preset": "medium", "x264-params": "asm=0"}
            stream.codec_context.thread_count = 1
            for array in padded:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")))
            container.mux(stream.encode(None))
        buffer.seek(0)
        with av.open(buffer, "r") as container:
            container.streams.video[0].codec_context.thread_count = 1
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        result = torch.from_numpy(np.stack(decoded)[:, :height, :width])
        return result.permute(3, 0, 1, 2).to(clip.dtype) / 255
