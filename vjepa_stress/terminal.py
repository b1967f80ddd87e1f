"""Escaping of characters that recolour, overwrite or reorder text on a terminal or a page."""

from __future__ import annotations

import re

# The characters of the Unicode categories Cc, Cf, Cs, Zl and Zp, except newline and tab. They are listed explicitly,
# because a document must not be valid in one version of Python and invalid in another.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)


def unsafe_character(text: str) -> str | None:
    r"""The first character of a text that `printable` would escape, written as `\u{1b}`, or None."""
    found = None if text.isascii() and text.isprintable() else _UNSAFE.search(text)
    return None if found is None else _escape(found)


def printable(text: str) -> str:
    r"""Replace every unsafe character of a text by its code point, for instance `\u{1b}`.

    Unsafe characters are control characters except newline and tab, format characters (including bidirectional and
    zero-width characters), lone surrogates, and line and paragraph separators.
    """
    return text if text.isascii() and text.isprintable() else _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{{{ord(found[0]):x}}}"
