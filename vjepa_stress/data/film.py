"""A video in memory: demuxing its container and decoding its frames.

Each video is decoded by one thread, so that the result depends on the bytes alone; callers decode several videos in
parallel. Not all damage can be detected: arithmetic-coded streams (H.264, VP9) decode flipped bits into plausible
pixels without an error. The digest of the file protects against that.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from vjepa_stress.data.container import Kind, kind_of, promised_length
from vjepa_stress.errors import BadVideo

AGAIN = "copy or download the file again, or remove it from the data set"
"""The fix for a damaged file."""


class Film:
    """An opened video: its packets in decoding order, and the presentation times of its frames.

    Attributes:
        pts: presentation time of each shown frame in display order, in units of `time_base`.
        timed: whether the times are exact and unique, so that they identify decoded frames.
    """

    def __init__(self, stream: VideoStream, packets: list[av.Packet[Any]], kind: Kind, where: object) -> None:
        self.stream, self.packets, self.where = stream, packets, where
        self.codec = stream.codec_context.name
        self.time_base = _fraction(stream.time_base) or Fraction(1)
        self.rate = _fraction(stream.average_rate)
        # Packets outside the edit list are decoded, because others refer to them, but not shown.
        shown = [packet for packet in packets if not packet.is_discard]
        # AVI stores no presentation times, and FFmpeg's guesses are not in display order.
        times = [packet.dts if kind == "avi" or packet.pts is None else packet.pts for packet in shown]
        self.pts = tuple(sorted(t if t is not None else i for i, t in enumerate(times)))
        known = all(packet.pts is not None for packet in shown) and len(set(self.pts)) == len(self.pts)
        self.timed = kind != "avi" and known

    def decoded(self, start: int) -> Iterator[av.VideoFrame]:
        """Decode from packet `start` on; yield frames in display order.

        Raises:
            BadVideo: when the decoder reports an error.
        """
        context = self.stream.codec_context
        context.flush_buffers()
        try:
            for packet in [*self.packets[start:], None]:
                yield from context.decode(packet)
        except av.FFmpegError as error:
            raise BadVideo(
                "the video is damaged and cannot be decoded", where=self.where, found=error.strerror, fix=AGAIN
            ) from error

    def collect(self, wanted: set[int]) -> dict[int, av.VideoFrame]:
        """Decode the wanted frames from the nearest key frame on, or from the start if that fails."""
        start = self._key_before(min(wanted))
        if start:
            # Some streams mark frames as key frames that depend on earlier frames.
            with suppress(BadVideo):
                return self._collect(start, wanted)
        return self._collect(0, wanted)

    def _key_before(self, first: int) -> int:
        if not self.timed:
            return 0
        until = self.pts[first]
        keys = [i for i, p in enumerate(self.packets) if p.is_keyframe and p.pts is not None and p.pts <= until]
        return max(keys, default=0)

    def _collect(self, start: int, wanted: set[int]) -> dict[int, av.VideoFrame]:
        index = {pts: i for i, pts in enumerate(self.pts)}
        # Frames shown before the first key frame belong to the previous group and may be incomplete.
        since = self.packets[start].pts if start else None
        found: dict[int, av.VideoFrame] = {}
        for count, frame in enumerate(self.decoded(start)):
            if since is not None and (frame.pts is None or frame.pts < since):
                continue
            number = count if not self.timed else None if frame.pts is None else index.get(frame.pts)
            if frame.is_corrupt:
                raise BadVideo(
                    "the video is damaged: the decoder concealed errors in a frame",
                    where=self.where,
                    found=f"frame {number}",
                    fix=AGAIN,
                )
            if number is not None and number in wanted:
                found[number] = frame
            if len(found) == len(wanted):
                return found
        raise BadVideo(
            "the decoder did not return all requested frames",
            where=self.where,
            expected=f"{len(wanted)} frames up to frame {max(wanted)}",
            found=f"{len(found)} frames",
            fix=AGAIN,
        )


@contextmanager
def opened(data: bytes, where: object) -> Iterator[Film]:
    """Demux a whole file.

    Raises:
        BadVideo: when the file is not a video, is truncated or has no frames; `where` names the file in the message.
    """
    kind = kind_of(data)
    if kind is None:
        raise BadVideo(
            "this file is not a video",
            where=where,
            expected="MP4, MOV, WebM, MKV or AVI",
            found=f"{len(data)} bytes that begin with {data[:12]!r}",
            fix="convert it, or remove it from the data set",
        )
    promised = promised_length(data, kind)
    if promised > len(data):
        raise _cut_short(where, f"{promised} bytes, as the container declares", f"{len(data)} bytes")
    try:
        container = av.open(io.BytesIO(data), "r", format=kind)
    except av.FFmpegError as error:
        raise BadVideo("the container cannot be read", where=where, found=error.strerror, fix=AGAIN) from error
    with container:
        # FFmpeg treats cover art as a video stream; skip it.
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise BadVideo(
                "the file has no video stream",
                where=where,
                found=[s.type for s in container.streams],
                fix="remove it from the data set",
            )
        stream = streams[0]
        if stream.codec_context is None:
            raise BadVideo("no decoder for the codec of this video", where=where, fix="convert it to H.264 or VP9")
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "explode"}
        try:
            packets = [packet for packet in container.demux() if packet.size]
        except av.FFmpegError as error:
            raise BadVideo("the container is truncated", where=where, found=error.strerror, fix=AGAIN) from error
        own = [packet for packet in packets if packet.stream_index == stream.index]
        if not any(not packet.is_discard for packet in own):
            raise BadVideo("the video has no frames", where=where, found="0 frames", fix=AGAIN)
        damaged = sum(packet.is_corrupt for packet in own)
        if damaged:
            raise _cut_short(where, "whole packets", f"{damaged} broken of {len(own)}")
        if kind == "mov" and len(own) < stream.frames:
            raise _cut_short(where, f"{stream.frames} frames, as the header declares", f"{len(own)} frames")
        film = Film(stream, own, kind, where)
        if kind == "matroska" and container.duration is not None:
            _check_duration(film, packets, Fraction(container.duration, av.time_base))
        yield film


def _check_duration(film: Film, packets: list[av.Packet[Any]], promised: Fraction) -> None:
    """Matroska stores no frame count: compare the end of the last packet of any track with the declared duration."""
    end = max((p.pts + (p.duration or 0)) * (_fraction(p.time_base) or 0) for p in packets if p.pts is not None)
    # The duration of the last frame is often not stored; the longest interval replaces it.
    longest = max(steps_between(film.pts), default=0) * film.time_base
    if end + 2 * longest + Fraction(1, 10) < promised:
        raise _cut_short(film.where, f"{float(promised):.2f} s, as the header declares", f"{float(end):.2f} s")


def _cut_short(where: object, expected: str, found: str) -> BadVideo:
    return BadVideo("the video is truncated", where=where, expected=expected, found=found, fix=AGAIN)


def _fraction(ratio: Fraction | None) -> Fraction | None:
    # PyAV returns None for an unset ratio up to version 18 and a falsy ratio from version 19 on.
    return Fraction(ratio.numerator, ratio.denominator) if ratio else None


def steps_between(pts: Sequence[int]) -> list[int]:
    """Differences between neighbouring times; one fewer than `pts`."""
    return [b - a for a, b in itertools.pairwise(pts)]
