"""The kind and the declared length of a video container, read from its outermost bytes.

Both are read before FFmpeg opens the file. A fixed demuxer excludes formats that only look like a video (play lists,
scripts, text). The declared length reveals a truncated file even where the demuxer would stop silently at the last
whole packet.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["mov", "matroska", "avi"]
"""FFmpeg's demuxer for MP4 and QuickTime, for Matroska and WebM, and for AVI."""

SUFFIXES: frozenset[str] = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"})
"""Suffixes of video files, in lower case."""

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def kind_of(data: bytes) -> Kind | None:
    """The kind of a container, by its first bytes; None for unknown formats."""
    if data[:4] == _EBML:
        return "matroska"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    return "mov" if data[4:8] in _FIRST_BOXES else None


def promised_length(data: bytes, kind: Kind) -> int:
    """Number of bytes that the outermost boxes declare; more than `len(data)` means that the file is truncated.

    Containers may leave the length open (live recordings); then it does not count. Sources: ISO/IEC 14496-12 section
    4.2 (boxes), RFC 8794 section 6 (EBML sizes), the RIFF and OpenDML chunk headers of AVI.
    """
    return {"mov": _boxes, "matroska": _segment, "avi": _chunks}[kind](data)


def _boxes(data: bytes) -> int:
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            return at + 8
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        # Size 0 means "up to the end of the file". Trailing bytes that are not a box are ignored, as players do.
        if size < 8 or not (name.isascii() and name.decode("ascii").isprintable()):
            break
        at += size
    return at


def _segment(data: bytes) -> int:
    header, at = _variable_integer(data, 4)
    at += header or 0
    if data[at : at + 4] != _SEGMENT:
        return 0
    size, at = _variable_integer(data, at + 4)
    return 0 if size is None else at + size


def _variable_integer(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML size and the offset after it; None if all bits are ones, which means an unknown size."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return None, at
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width


def _chunks(data: bytes) -> int:
    at = 0
    while data[at : at + 4] == b"RIFF":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size == 0:
            break
        at += 8 + size
    return at
