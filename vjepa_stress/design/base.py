"""The interface of designs: factors, cells, units, and the identities that a launch binds.

`video` is one kind of design (`vjepa_stress.design.video`). Statistics, rules, gate and verdict depend only on this
interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import Field

from vjepa_stress.columns import Column
from vjepa_stress.design.cell import Cell, Where
from vjepa_stress.digest import Digest, digest_of
from vjepa_stress.fields import Frozen, Level


class Factor(NamedTuple):
    """A factor of a design.

    Attributes:
        name: its name in cells and filters.
        numeric: whether its levels are numbers, so that a trend along it can be computed.
    """

    name: str
    numeric: bool = False


class Measure(Protocol):
    """A shard column that estimands can be computed from."""

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest possible value of the column."""


class Identity(NamedTuple):
    """Something that a launch binds by digest, such as a model's weights.

    Attributes:
        spec: digest of its specification.
        digest: the registered digest; None if the first launch pins it.
    """

    spec: Digest
    digest: Digest | None


@dataclass(frozen=True)
class Concern:
    """A reason to doubt an estimand, found by the design.

    Attributes:
        code: code of the message.
        values: values in the message.
    """

    code: str
    values: Mapping[str, str]


class Design(Frozen, ABC):
    """The exact set of cells, and all registered settings that can change their numbers.

    Attributes:
        unit: name of the key column of rows, such as `clip`.
        units: kind of identity that lists the units, such as `clips`.
        control_factor: factor whose levels can be controls; None if the design has no controls.
    """

    unit: ClassVar[str]
    units: ClassVar[str]
    control_factor: ClassVar[str | None] = None

    kind: str
    cells: tuple[Cell, ...] = Field(min_length=1)

    @property
    @abstractmethod
    def factors(self) -> tuple[Factor, ...]:
        """The factors, in order."""

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, Measure]:
        """The columns that estimands can be computed from, by name."""

    @property
    @abstractmethod
    def layout(self) -> tuple[Column, ...]:
        """All columns of a shard, in the order of the file, starting with the unit."""

    @abstractmethod
    def stratum(self, cell: Cell) -> str:
        """The stratum of a cell. Cells of one stratum have the same units."""

    @abstractmethod
    def count_units(self, stratum: str) -> int:
        """Number of units of a stratum."""

    def count_sources(self, stratum: str) -> int:
        """Number of sources of a stratum, such as videos. Units of one source are not independent.

        The default is for designs in which each unit is its own source.
        """
        return self.count_units(stratum)

    @property
    @abstractmethod
    def identities(self) -> Mapping[str, Mapping[str, Identity]]:
        """The identities that a launch binds: kind → name → identity."""

    @abstractmethod
    def bound_to(self, cell: Cell) -> Mapping[str, str]:
        """The identities that a cell depends on: kind → name."""

    @abstractmethod
    def config(self, cell: Cell) -> dict[str, Any]:
        """All registered settings that the numbers of a cell depend on, as JSON values, without identities."""

    @abstractmethod
    def unit_keys(self, data: bytes) -> tuple[str, ...]:
        """Keys of the units in a list of units, in order.

        Args:
            data: bytes of the list, which is the content of an identity of kind `units`.

        Raises:
            BadDocument: when the bytes are not such a list.
        """

    def unit_sources(self, data: bytes) -> Mapping[str, str]:
        """The key of the source of each unit in a list of units. By default each unit is its own source."""
        return {key: key for key in self.unit_keys(data)}

    def known_keys(self, data: bytes) -> frozenset[str]:
        """Keys that identify the units in other studies: their own keys, and those of their sources, if any."""
        return frozenset(self.unit_keys(data))

    @property
    def settings(self) -> Mapping[str, str]:
        """Registered settings that manifests repeat, such as the number format."""
        return {}

    @property
    def controls(self) -> tuple[str, ...]:
        """Levels of `control_factor` that are controls. Every estimand is also computed on them."""
        return ()

    @property
    def default_levels(self) -> Mapping[str, tuple[Level, ...]]:
        """Levels of a factor that a filter selects when it does not name the factor."""
        return {}

    def concerns(self, columns: Sequence[str], cells: Sequence[Cell]) -> Iterator[Concern]:  # noqa: ARG002
        """Concerns about an estimand that reads these columns in these cells."""
        return iter(())

    def same_number(self, x: str, y: str, cells: Sequence[Cell]) -> bool:  # noqa: ARG002
        """Whether two columns always hold the same number in these cells."""
        return False

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factors, in order."""
        return tuple(factor.name for factor in self.factors)

    def select(self, where: Where) -> tuple[Cell, ...]:
        """Cells that a filter selects, in the order of the design.

        Raises:
            ValueError: when the filter names a factor that the design does not have.
        """
        for factor in where.levels:
            if factor not in self.factor_names:
                known = list(self.factor_names)
                raise ValueError(f"unknown factor {factor!r}; a {self.kind} design has {known}")
        filled = {**self.default_levels, **where.levels}
        return tuple(cell for cell in self.cells if all(cell[name] in levels for name, levels in filled.items()))

    @property
    def shard_columns(self) -> frozenset[str]:
        """Columns of a shard with one value per row. Conditions can name them."""
        return frozenset(column.name for column in self.layout if column.kind not in ("integers", "values"))

    def config_digest(self, cell: Cell) -> Digest:
        """Digest of `config`."""
        return digest_of(self.config(cell))

    def strata(self, cells: Sequence[Cell]) -> tuple[str, ...]:
        """Strata of some cells, sorted."""
        return tuple(sorted({self.stratum(cell) for cell in cells}))

    def check_column(self, name: str, path: str) -> None:
        """Refuse a metric column that is not in the design.

        Raises:
            ValueError: with the path and the known columns.
        """
        if name not in self.columns:
            raise ValueError(f"{path}: unknown metric {name!r}; the design has {', '.join(sorted(self.columns))}")

    def check_factor(self, name: str, path: str) -> None:
        """Refuse a factor that is not in the design.

        Raises:
            ValueError: with the path and the factors.
        """
        if name not in self.factor_names:
            raise ValueError(f"{path}: unknown factor {name!r}; the design has {', '.join(self.factor_names)}")

    def check_numeric(self, name: str, path: str) -> None:
        """Refuse a factor that is not a numeric factor of the design.

        Raises:
            ValueError: with the path and the numeric factors.
        """
        numeric = [factor.name for factor in self.factors if factor.numeric]
        if name not in numeric:
            raise ValueError(f"{path}: unknown numeric factor {name!r}; the design has {numeric}")

    def check_filter(self, where: Where, path: str) -> None:
        """Refuse a filter that selects no cell, or names a level or column that is not in the design.

        Args:
            where: the filter.
            path: its location, for the error message.

        Raises:
            ValueError: with the path and the unknown name.
        """
        try:
            cells = self.select(where)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if not cells:
            raise ValueError(f"{path}: the filter selects no cell of the design")
        # A level that selects no cell is probably a typing error, even if other levels select some.
        for factor, levels in where.levels.items():
            for level in levels:
                if not any(cell[factor] == level for cell in cells):
                    raise ValueError(f"{path}: {factor} {level!r} selects no cell of the design")
        for condition in where.rows or ():
            if condition.column not in self.shard_columns:
                known = sorted(self.shard_columns)
                raise ValueError(f"{path}: unknown column {condition.column!r}; shards have {known}")
            if isinstance(condition.equals, str) != (condition.column == self.unit):
                raise ValueError(f"{path}: only `{self.unit}` can equal a string, and it cannot equal a number")
