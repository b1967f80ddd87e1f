"""Validation of parsed documents: by pydantic, and by the JSON Schema, as an outsider would."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from vjepa_stress.design import Design, kinds
from vjepa_stress.errors import BadDocument

Document = TypeVar("Document", bound=BaseModel)


def json_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a document class."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **kind.model_json_schema(by_alias=True, mode="validation"),
    }


@functools.cache
def _validator(kind: type[BaseModel], designs: tuple[type[Design], ...]) -> Draft202012Validator:  # noqa: ARG001
    # The kinds of design that documents may have are part of the schema, and more may be added.
    return Draft202012Validator(json_schema(kind))


def validate(kind: type[Document], value: Any, where: object) -> Document:
    """Turn parsed JSON into a document.

    Raises:
        BadDocument: with every mistake and the path to it.
    """
    document = None
    try:
        document = kind.model_validate(value)
        # Second, for a rule that is too deep keeps the JSON Schema busy for hours.
        mistakes = [
            f"{error.json_path}: {error.message[:300]}"
            for error in _validator(kind, tuple(kinds().values())).iter_errors(value)
        ]
    except ValidationError as error:
        # pydantic's list is easier to read where a union is involved, and it knows what holds between fields.
        mistakes = [_describe(detail) for detail in error.errors()]
    if mistakes or document is None:
        raise BadDocument(
            f"this is not a valid {kind.__name__.lower()}", where=where, found="\n    ".join(["", *mistakes]).rstrip()
        )
    return document


def _describe(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "document"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = "there is no such field"
    return f"{path}: {message}"
