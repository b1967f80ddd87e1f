"""Unsafe characters: which they are, how they are shown, and that nothing else changes."""

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from vjepa_stress.terminal import printable, unsafe_character


def test_every_control_format_surrogate_and_separator_character_is_escaped_and_no_other() -> None:
    unsafe = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assigned = (chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) != "Cn")
    for character in assigned:
        expected = unicodedata.category(character) in unsafe and character not in "\n\t"
        assert (printable(character) != character) is expected, hex(ord(character))


def test_an_escape_names_its_code_point() -> None:
    assert printable("\x1b[31mrefuted\u202e.\x9b\U000e0041") == "\\u{1b}[31mrefuted\\u{202e}.\\u{9b}\\u{e0041}"
    assert printable("M2 × strength −0.1\n\té\u0301 日本") == "M2 × strength −0.1\n\té\u0301 日本"


@given(st.text())
def test_what_is_printable_is_printed_as_it_is(text: str) -> None:
    shown = printable(text)
    assert unsafe_character(shown) is None
    assert printable(shown) == shown
    assert (unsafe_character(text) is None) is (shown == text)
