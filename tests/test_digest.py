"""Canonical JSON against the official RFC 8785 pairs and an independent implementation; strict parsing."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjepa_stress.digest import Digest, canonical_json, digest_of, parse_json, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadDocument

GOLDEN = Path(__file__).parent / "golden" / "d_jcs"
OFFICIAL = sorted(path.stem for path in (GOLDEN / "rfc_input").glob("*.json"))


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_pairs(name: str) -> None:
    value = json.loads((GOLDEN / "rfc_input" / f"{name}.json").read_text("utf-8"))
    expected = (GOLDEN / "rfc_output" / f"{name}.json").read_bytes()
    assert canonical_json(value) == expected
    assert canonical_json(value) == bytes.fromhex((GOLDEN / "rfc_outhex" / f"{name}.txt").read_text())


def test_there_are_six_official_pairs() -> None:
    assert len(OFFICIAL) == 6


def test_numbers() -> None:
    cases = [(case["ieee754_hex"], case["expected"]) for case in json.loads((GOLDEN / "numbers.json").read_text())]
    for line in (GOLDEN / "es6_first1000.txt").read_text().splitlines():
        bits, _, expected = line.partition(",")
        cases.append((bits, expected))
    assert len(cases) > 1000
    for bits, expected in cases:
        value = struct.unpack(">d", bytes.fromhex(bits.rjust(16, "0")))[0]
        assert canonical_json(value) == expected.encode(), bits


def test_documents() -> None:
    for case in json.loads((GOLDEN / "documents.json").read_text("utf-8")):
        data = canonical_json(json.loads(case["input"]))
        assert data == case["expected"].encode()
        assert sha256(data).hex == case["expected_sha256_of_utf8"]


REJECTED = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
    "lone surrogate in a value": "\ud800",
    "lone surrogate in a key": {"\udc00": 1},
    "int 2**53": 2**53,
    "int -2**53": -(2**53),
    "non-string key": {1: 2},
    "bytes": b"x",
}


def test_every_golden_rejection_is_tried() -> None:
    assert {case["case"] for case in json.loads((GOLDEN / "rejections.json").read_text())} == set(REJECTED)


@pytest.mark.parametrize("value", REJECTED.values(), ids=REJECTED.keys())
def test_rejections(value: object) -> None:
    with pytest.raises(BadDocument):
        canonical_json(value)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'"e\xcc\x81"',  # e and a combining accent: not NFC
        b'{"e\xcc\x81":1}',
        b"NaN",
        b"-Infinity",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b"1e999",
        b'"\\ud800"',
        b'"\\u001b[31m"',
        b'{"\\u001b":1}',
        b'"\\r"',
        b'"\x7f"',
        b'"\xc2\x9b"',  # a C1 control: another way to begin an escape sequence
        b'"\xe2\x80\xae"',  # right-to-left override
        b'["\xe2\x80\x8b"]',  # zero width space
        b'"\xe2\x80\xa8"',  # line separator
        b'{"a":1',
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"",
        b"[" * 100_000,
    ],
)
def test_strict_parsing_refuses(text: bytes) -> None:
    with pytest.raises(BadDocument):
        parse_json(text)


PRINTABLE = st.characters(codec="ascii", exclude_categories=["Cc"], include_characters="\n\t")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    # Whole numbers beyond 2**53 are written without an exponent, and such text is refused when it is read.
    | st.floats(-(2**53) + 1, 2**53 - 1)
    | st.text(PRINTABLE),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(PRINTABLE), inner),
)


@given(JSON)
def test_canonical_form_is_a_fixed_point(value: object) -> None:
    data = canonical_json(value)
    assert canonical_json(parse_json(data)) == data


@given(st.dictionaries(st.text(st.characters(codec="ascii")), st.integers(0, 9), min_size=2))
def test_digest_does_not_depend_on_key_order(value: dict[str, int]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 64, "sha256:" + "0" * 65])
def test_a_digest_is_well_formed(text: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        Digest(text)


def test_durable_writing_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
