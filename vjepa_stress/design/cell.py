"""Cells of a design, and filters that select them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, model_validator
from pydantic_core import CoreSchema, core_schema

from vjepa_stress.fields import Finite, Frozen, Level, Name

_LEVELS = dict[Name, Level | None]
_JSON_SCHEMA = TypeAdapter(_LEVELS).json_schema()


class Cell(Mapping[str, Level | None]):
    """One cell: a level for each factor of the design, or None if a factor does not apply.

    Equality of cells does not depend on the order of their factors.

    Class attributes:
        factors: the order of factors; other factors follow in alphabetical order.
    """

    __slots__ = ("_key", "_levels")

    factors: ClassVar[tuple[str, ...]] = ()

    def __init__(self, levels: Mapping[str, Level | None]) -> None:
        """Create a cell from a mapping of factors to levels."""
        order = [name for name in self.factors if name in levels]
        order += sorted(name for name in levels if name not in self.factors)
        self._levels = {name: levels[name] for name in order}
        self._key = frozenset(self._levels.items())

    def __getitem__(self, factor: str) -> Level | None:
        return self._levels[factor]

    def __iter__(self) -> Iterator[str]:
        return iter(self._levels)

    def __len__(self) -> int:
        return len(self._levels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Cell({self._levels!r})"

    def __str__(self) -> str:
        return " · ".join(
            level if isinstance(level, str) else f"{factor} {level:g}"
            for factor, level in self._levels.items()
            if level is not None
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._levels,)

    def order(self) -> tuple[tuple[int, str, float], ...]:
        """Sort key: factors in alphabetical order; None before numbers before names."""
        return tuple(_level_order(self._levels[factor]) for factor in sorted(self._levels))

    def without(self, factor: str) -> Cell:
        """The cell without one factor."""
        return Cell({name: level for name, level in self._levels.items() if name != factor})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from_mapping = core_schema.no_info_after_validator_function(cls, handler.generate_schema(_LEVELS))
        return core_schema.json_or_python_schema(
            json_schema=from_mapping,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_mapping]),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda cell: dict(cell)),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(_JSON_SCHEMA)


def _level_order(level: Level | None) -> tuple[int, str, float]:
    if level is None:
        return 0, "", 0.0
    return (2, level, 0.0) if isinstance(level, str) else (1, "", level)


class Condition(Frozen):
    """A condition on the rows of a shard: the value in a column is in a range, or equals a value.

    A row without a value in the column does not meet the condition.
    """

    column: Name
    at_least: Finite | None = None
    at_most: Finite | None = None
    equals: bool | Finite | str | None = None

    @model_validator(mode="after")
    def _is_one_condition(self) -> Self:
        bounded = self.at_least is not None or self.at_most is not None
        if bounded == (self.equals is not None):
            raise ValueError(f"a condition on {self.column} needs either `equals`, or `at_least` or `at_most`")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"{self.column}: `at_least` {self.at_least} is above `at_most` {self.at_most}")
        return self


class Where(Frozen):
    """A filter on cells: levels of some factors, and conditions on rows.

    A factor that is not named is not filtered, unless the design has default levels for it (in a video design: all
    models that are subjects). A row must meet all conditions of `rows`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[Name, tuple[Level, ...]] = Field(init=False)

    rows: tuple[Condition, ...] | None = Field(default=None, min_length=1, exclude_if=lambda rows: rows is None)

    @model_validator(mode="after")
    def _names_levels(self) -> Self:
        for factor, levels in self.levels.items():
            if not levels:
                raise ValueError(f"{factor}: name at least one level, or omit the factor")
        return self

    @property
    def levels(self) -> Mapping[str, tuple[Level, ...]]:
        """Selected levels by factor."""
        return self.__pydantic_extra__

    def at(self, factor: str, *levels: Level) -> Where:
        """The filter with other levels of one factor."""
        return Where.model_validate({"rows": self.rows, **self.levels, factor: levels})

    def admits(self, cell: Cell) -> bool:
        """Whether a cell has a selected level of each named factor."""
        return all(cell[factor] in levels for factor, levels in self.levels.items())
