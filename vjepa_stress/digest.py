"""Canonical JSON (RFC 8785), strict parsing, SHA-256, and the `Digest` type."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from io import BufferedReader
from pathlib import Path
from typing import Any, Self

import rfc8785
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vjepa_stress.errors import BadDocument
from vjepa_stress.terminal import printable, unsafe_character

LARGEST_INTEGER = 2**53 - 1
"""The largest integer that all JSON readers represent exactly (RFC 8785, section 3.2.2.3)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """A SHA-256 digest, written `sha256:` and 64 lowercase hexadecimal digits.

    Raises:
        ValueError: for any other text.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Validate the form, so that every `Digest` is well formed."""
        if not _DIGEST.fullmatch(text):
            raise ValueError(f"not a digest: {text[:80]!r}; expected sha256:<64 lowercase hexadecimal digits>")
        return super().__new__(cls, text)

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits, without the prefix."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, used in file names."""
        return self[7:19]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}


def canonical_json(obj: Any) -> bytes:
    """Serialise to the canonical form of RFC 8785 (UTF-8, no final newline).

    Raises:
        BadDocument: for NaN, infinities, integers of 2**53 or more in size, lone surrogates, keys that are
            not strings, and types that JSON does not have.
    """
    try:
        return rfc8785.dumps(obj)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise BadDocument(
            "this value has no canonical JSON form",
            found=str(error),
            expected="finite numbers, integers below 2**53, valid Unicode, string keys",
            fix="change the value",
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise BadDocument("a JSON object has a duplicate key", found=repr(key), fix="remove one of the entries")
        unique[key] = value
    return unique


def _integer(text: str) -> int:
    # The length is tested first, because Python parses very long integers in quadratic time.
    if len(text) > 17 or abs(int(text)) > LARGEST_INTEGER:
        raise BadDocument(
            "an integer is too large: JSON readers do not represent it exactly",
            found=text[:40],
            expected="below 2**53",
            fix="use a smaller integer, or a string",
        )
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise BadDocument("a number is too large for a double", found=text[:40], fix="use a smaller number")
    return value


def _constant(text: str) -> float:
    raise BadDocument("JSON has no NaN and no infinity", found=text, fix="use a finite number, or null")


def _check_safe(text: str) -> None:
    """Refuse characters that can overwrite or reorder the text around them on a terminal or page."""
    if (character := unsafe_character(text)) is not None:
        raise BadDocument(
            "a string contains a control character or an invisible formatting character",
            expected="printable characters, newlines and tabs",
            found=f'{character} in "{printable(text[:80])}"',
            fix="delete the character; if it is in a file name, rename the file",
        )


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if not unicodedata.is_normalized("NFC", value):
            raise BadDocument(
                "a string is not in Unicode normal form C (NFC)",
                found=repr(value[:80]),
                fix="normalise the text to NFC; if it is a file name, rename the file",
            )
        _check_safe(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)


def parse_json(data: bytes, where: object = None) -> Any:
    """Parse JSON bytes strictly.

    Raises:
        BadDocument: for invalid JSON, duplicate keys, strings that are not NFC, strings with control or invisible
            formatting characters other than newline and tab, NaN, infinities, and integers of 2**53 or more in size.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
        _check_text(value)
    except BadDocument as error:
        raise BadDocument(
            error.what, where=where, expected=error.expected, found=error.found, fix=error.fix
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadDocument("invalid JSON", where=where, found=str(error), fix="correct the JSON") from error
    return value


def sha256(data: bytes) -> Digest:
    """SHA-256 digest of bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def sha256_stream(stream: BufferedReader) -> Digest:
    """SHA-256 digest of an open binary file from its current position to its end, in constant memory."""
    return Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())


def sha256_file(path: Path) -> Digest:
    """SHA-256 digest of a file, in constant memory."""
    with path.open("rb") as stream:
        return sha256_stream(stream)


def digest_of(obj: Any) -> Digest:
    """SHA-256 digest of the canonical form of a JSON value."""
    return sha256(canonical_json(obj))
