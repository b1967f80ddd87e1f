"""Kinds and lengths of containers, from boxes and chunks written by hand and from files that FFmpeg wrote."""

from __future__ import annotations

import pytest

from tests.data.films import KINDS, film
from vjepa_stress.data.container import Kind, kind_of, promised_length

EBML = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"


def box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content


def large_box(name: bytes, content: bytes) -> bytes:
    return b"\x00\x00\x00\x01" + name + (16 + len(content)).to_bytes(8, "big") + content


def element(name: bytes, content: bytes, width: int = 1) -> bytes:
    """An EBML element whose size takes `width` bytes."""
    return name + (len(content) | 1 << 7 * width).to_bytes(width, "big") + content


def riff(content: bytes, form: bytes = b"AVI ") -> bytes:
    return b"RIFF" + (4 + len(content)).to_bytes(4, "little") + form + content


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (box(b"ftyp", b"isom"), "mov"),
        (box(b"moov", b""), "mov"),
        (box(b"wide", b"") + box(b"mdat", b""), "mov"),
        (EBML + b"\x80", "matroska"),
        (riff(b""), "avi"),
        (riff(b"", b"WAVE"), None),
        (b"RIFF", None),
        (box(b"text", b""), None),
        (b"#EXTM3U\n", None),
        (b"", None),
        (b"\x1a\x45\xdf", None),
    ],
)
def test_the_first_bytes_tell_the_kind(data: bytes, kind: Kind | None) -> None:
    assert kind_of(data) == kind


@pytest.mark.parametrize(("container", "codec"), KINDS)
def test_a_whole_file_is_as_long_as_it_promises(container: str, codec: str) -> None:
    data = film(container, codec, frames=3)
    kind = kind_of(data)
    assert kind is not None
    assert promised_length(data, kind) == len(data)
    assert promised_length(data[:-1], kind) == len(data)


def test_boxes_follow_one_another() -> None:
    data = box(b"ftyp", b"isom") + large_box(b"mdat", bytes(100)) + box(b"moov", bytes(20))
    assert promised_length(data, "mov") == len(data)
    assert promised_length(data[:-7], "mov") == len(data)
    assert promised_length(data[:50], "mov") == 12 + 116  # the second box is known to go on; the third is not yet
    assert promised_length(data[:15], "mov") == 20  # not even a whole header


def test_a_box_up_to_the_end_and_trailing_matter_promise_nothing() -> None:
    whole = box(b"ftyp", b"isom")
    assert promised_length(whole + b"\x00\x00\x00\x00mdat" + bytes(50), "mov") == len(whole)
    assert promised_length(whole + b"\xff\xff\xff\xff\x00\x01\x02\x03" + bytes(50), "mov") == len(whole)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_segment_has_a_size_of_one_to_eight_bytes(width: int) -> None:
    data = element(EBML, b"header", 1) + element(SEGMENT, bytes(100), width)
    assert promised_length(data, "matroska") == len(data)
    assert promised_length(data[:-30], "matroska") == len(data)


@pytest.mark.parametrize("width", [1, 8])
def test_a_segment_of_unknown_size_promises_nothing(width: int) -> None:
    unknown = ((1 << 7 * width + 1) - 1).to_bytes(width, "big")
    assert promised_length(element(EBML, b"header") + SEGMENT + unknown + bytes(9), "matroska") == 0
    assert promised_length(element(EBML, b"header") + b"no segment", "matroska") == 0
    assert promised_length(EBML, "matroska") == 0


def test_chunks_of_a_large_avi_follow_one_another() -> None:
    data = riff(bytes(40)) + riff(bytes(60), b"AVIX")
    assert promised_length(data, "avi") == len(data)
    assert promised_length(data[:-1], "avi") == len(data)
    live = b"RIFF" + bytes(4) + b"AVI " + bytes(100)
    assert promised_length(live, "avi") == 0
