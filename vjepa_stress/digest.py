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
"""The largest integer that every JSON reader agrees on (RFC 8785, section 3.2.2.3)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """A SHA-256 digest, written `sha256:` and 64 lowercase hexadecimal digits.

    Raises:
        ValueError: for any other text.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the form; a digest that exists is well formed."""
        if not _DIGEST.fullmatch(text):
            raise ValueError(f"not a digest: {text[:80]!r}; expected sha256:<64 lowercase hexadecimal digits>")
        return super().__new__(cls, text)

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits alone."""
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
    """Serialise to the one canonical form of RFC 8785 (UTF-8, no final newline).

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
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadDocument("a JSON object has the same key twice", found=repr(key))
        found[key] = value
    return found


def _integer(text: str) -> int:
    # The length test comes first: Python takes quadratic time over very long integers.
    if len(text) > 17 or abs(int(text)) > LARGEST_INTEGER:
        raise BadDocument(
            "an integer is too large for JSON readers to agree on", found=text[:40], expected="below 2**53"
        )
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise BadDocument("a number is too large for a double", found=text[:40])
    return value


def _constant(text: str) -> float:
    raise BadDocument("JSON has no such number", found=text)


def _check_safe(text: str) -> None:
    """Refuse what could overwrite or reorder the text around it wherever the document is shown."""
    if (character := unsafe_character(text)) is not None:
        raise BadDocument(
            "a text holds a control or invisible formatting character",
            expected="printable text; newlines and tabs are allowed",
            found=f'{character} in "{printable(text[:80])}"',
            fix="delete the character; if it is part of a file name, rename the file",
        )


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if not unicodedata.is_normalized("NFC", value):
            raise BadDocument("a text is not in Unicode normal form C", found=repr(value[:80]))
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
        BadDocument: for anything that is not JSON, duplicate keys, text that is not NFC, text with control or
            invisible formatting characters other than newline and tab, NaN or infinities,
            integers of 2**53 or more in size.
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
        raise BadDocument("these bytes are not JSON", where=where, found=str(error)) from error
    return value


def sha256(data: bytes) -> Digest:
    """Digest of bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def sha256_stream(stream: BufferedReader) -> Digest:
    """Digest of an open binary file from its current position to its end, in constant memory."""
    return Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())


def sha256_file(path: Path) -> Digest:
    """Digest of a file's bytes, in constant memory."""
    with path.open("rb") as stream:
        return sha256_stream(stream)


def digest_of(obj: Any) -> Digest:
    """Digest of a JSON value: SHA-256 over its canonical form."""
    return sha256(canonical_json(obj))
