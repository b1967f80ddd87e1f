"""Designs: the cells of a study and the settings that they depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vjepa_stress.design.base import Concern, Design, Factor, Identity, Measure
from vjepa_stress.design.cell import Cell, Condition, Where
from vjepa_stress.design.video import VideoDesign

__all__ = [
    "AnyDesign",
    "Cell",
    "Concern",
    "Condition",
    "Design",
    "Factor",
    "Identity",
    "Measure",
    "VideoDesign",
    "Where",
    "add_kind",
    "kinds",
]

_KINDS: dict[str, type[Design]] = {"video": VideoDesign}


def kinds() -> dict[str, type[Design]]:
    """The kinds of design that documents can have, by name."""
    return dict(_KINDS)


def add_kind(name: str, kind: type[Design]) -> None:
    """Add a kind of design that documents can have.

    Raises:
        ValueError: when another class has the name.
    """
    if _KINDS.setdefault(name, kind) is not kind:
        raise ValueError(f"the kind {name!r} already refers to {_KINDS[name].__name__}")


class _ByKind:
    """Validate a design as the class of its `kind`. Kinds can be added after the document class is defined."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(_write, info_arg=True)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"oneOf": [handler(kind.__pydantic_core_schema__) for _, kind in sorted(_KINDS.items())]}


def _read(value: Any) -> Design:
    if isinstance(value, Design):
        return value
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of design {kind!r}; known: {', '.join(sorted(_KINDS))}")
    return _KINDS[kind].model_validate(value)


def _write(design: Design, info: Any) -> Any:
    return design.model_dump(mode=info.mode, by_alias=info.by_alias)


if TYPE_CHECKING:
    AnyDesign = Design
else:
    AnyDesign = Annotated[Design, _ByKind()]
