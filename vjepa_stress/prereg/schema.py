"""Validation of parsed documents, by pydantic and by the published JSON Schema."""

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
    # The schema depends on the kinds of design, and kinds can be added.
    return Draft202012Validator(json_schema(kind))


def validate(kind: type[Document], value: Any, where: object) -> Document:
    """Convert parsed JSON to a document.

    Raises:
        BadDocument: with all mistakes and their paths.
    """
    document = None
    try:
        document = kind.model_validate(value)
        # pydantic runs first, because the JSON Schema takes hours for a rule that is nested too deeply.
        mistakes = [
            f"{error.json_path}: {error.message[:300]}"
            for error in _validator(kind, tuple(kinds().values())).iter_errors(value)
        ]
    except ValidationError as error:
        # The mistakes that pydantic lists are easier to read for unions, and include constraints between fields.
        mistakes = [_describe(detail) for detail in error.errors()]
    if mistakes or document is None:
        raise BadDocument(
            f"the {kind.__name__.lower()} is invalid",
            where=where,
            found="\n    ".join(["", *mistakes]).rstrip(),
            fix="correct each field named above",
        )
    return document


def _describe(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "document"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = "unknown field"
    return f"{path}: {message}"
