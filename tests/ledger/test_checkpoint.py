"""Checkpoints as notes: the bytes of the C2SP form, what is read back, and what is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjepa_stress.digest import Digest, sha256
from vjepa_stress.errors import LedgerTampered
from vjepa_stress.ledger.checkpoint import ORIGIN, Checkpoint, Note

ROOT = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
BASE64 = "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
POINT = Checkpoint(1, Digest(f"sha256:{ROOT}"))
TEXT = f"vjepa-stress/ledger\n1\n{BASE64}\n"
SIGNATURE = "— witness.example/log Ck1rhwWNOg=="


def test_the_bytes_of_a_checkpoint() -> None:
    assert base64.b64decode(BASE64).hex() == ROOT
    assert Note(POINT).to_bytes() == TEXT.encode()
    assert f"{POINT}\n" == TEXT, "what a command prints is what the file holds"
    assert POINT.short == f"1 {BASE64}"


def test_signatures_and_extensions_are_kept() -> None:
    data = f"{TEXT}an extension\nanother\n\n{SIGNATURE}\n— other Ck1rhwWNOh==\n".replace("Oh==", "Og==").encode()
    note = Note.parse(data, "here")
    assert note.checkpoint == POINT
    assert note.extensions == ("an extension", "another")
    assert [line.split()[1] for line in note.signatures] == ["witness.example/log", "other"]
    assert note.to_bytes() == data


@given(
    st.integers(0, 10**12 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), max_size=2),
    st.lists(st.binary(min_size=5, max_size=80), max_size=3),
)
def test_what_is_written_is_read_again(size: int, root: bytes, more: list[str], signed: list[bytes]) -> None:
    lines = tuple(f"— key{number} {base64.b64encode(one).decode()}" for number, one in enumerate(signed))
    note = Note(Checkpoint(size, Digest("sha256:" + root.hex())), tuple(more), lines)
    assert Note.parse(note.to_bytes(), "here") == note


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "\n",
        TEXT.replace("\n1\n", "\n01\n"),
        TEXT.replace("\n1\n", "\n+1\n"),
        TEXT.replace("\n1\n", "\n-1\n"),
        TEXT.replace("\n1\n", "\n1 \n"),
        TEXT.replace("\n1\n", "\n١\n"),
        TEXT.replace("\n1\n", "\n1000000000000\n"),
        TEXT.replace("\n1\n", "\n"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("ledger", "ledger/elsewhere"),
        " " + TEXT,
        "\ufeff" + TEXT,
        TEXT.replace("B0=", "B1="),  # bits that no byte holds
        TEXT.replace("B0=", "B0"),
        TEXT.replace("+", "-"),  # the alphabet of URLs
        TEXT.replace(BASE64, base64.b64encode(bytes(31)).decode()),
        TEXT.replace(BASE64, base64.b64encode(bytes(33)).decode()),
        TEXT + "a tab\there\n",
        TEXT + "\nno signature\n",
        TEXT + "\n- witness Ck1rhwWNOg==\n",
        TEXT + "\n— a name Ck1rhwWNOg==\n",
        TEXT + "\n— a+b Ck1rhwWNOg==\n",
        TEXT + "\n— witness Ck1rhw==\n",  # a key's hash and no signature
        TEXT + f"\n{SIGNATURE}\n\n",
        TEXT + f"\n{SIGNATURE}",
        f"1 sha256:{ROOT}\n",
    ],
)
def test_other_bytes_are_tampering(text: str) -> None:
    with pytest.raises(LedgerTampered, match=ORIGIN):
        Note.parse(text.encode(), "here")


def test_bytes_that_are_no_text_are_tampering() -> None:
    with pytest.raises(LedgerTampered):
        Note.parse(TEXT.encode() + b"\xff\n", "here")


def test_the_empty_ledger() -> None:
    empty = Checkpoint(0, sha256(b""))
    assert Note.parse(Note(empty).to_bytes(), "here").checkpoint == empty
