"""Plain text: escaping of characters that recolour, overwrite or reorder it, and aligned columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

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


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines of text with aligned columns. Cells may have several lines."""
    cells = [[cell.split("\n") for cell in row] for row in rows]
    widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(rows[0]))]
    for row in cells:
        for number in range(max(map(len, row))):
            line = [part[number] if number < len(part) else "" for part in row]
            yield "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip()


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
