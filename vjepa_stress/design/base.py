"""What a design is: ordered factors, cells, the units that rows are keyed by, and the identities that a launch binds.

`video` is one kind (`vjepa_stress.design.video`). Statistics, rules, gate and verdict know this interface alone.
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
        name: as cells and filters name it.
        numeric: whether its levels are numbers, so that a trend can run along it.
    """

    name: str
    numeric: bool = False


class Measure(Protocol):
    """A shard column that estimands can be computed from."""

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value that the column can hold."""


class Identity(NamedTuple):
    """Something that a launch binds by digest, such as a model's weights.

    Attributes:
        spec: digest of its specification.
        digest: the registered digest; None where the first launch pins it.
    """

    spec: Digest
    digest: Digest | None


@dataclass(frozen=True)
class Concern:
    """A reason to doubt an estimand that the design knows of.

    Attributes:
        code: which one.
        values: what the message names.
    """

    code: str
    values: Mapping[str, str]


class Design(Frozen, ABC):
    """The exact set of cells, and everything registered that could change a number in them.

    Attributes:
        unit: name of the column that rows are keyed by, such as `clip`.
        units: kind of identity that lists the units, such as `clips`.
        control_factor: factor whose levels may be controls; None where there is none.
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
        """Columns that estimands can be computed from, by name."""

    @property
    @abstractmethod
    def layout(self) -> tuple[Column, ...]:
        """Every column of a shard, in the order of the file, the unit's first."""

    @abstractmethod
    def stratum(self, cell: Cell) -> str:
        """Which set of units a cell is measured on; cells of one stratum have the same units."""

    @abstractmethod
    def count_units(self, stratum: str) -> int:
        """How many units a stratum has."""

    @property
    @abstractmethod
    def identities(self) -> Mapping[str, Mapping[str, Identity]]:
        """What a launch binds: kind of identity → name → identity."""

    @abstractmethod
    def bound_to(self, cell: Cell) -> Mapping[str, str]:
        """The identities that a cell depends on: kind → name."""

    @abstractmethod
    def config(self, cell: Cell) -> dict[str, Any]:
        """Everything registered that the numbers of a cell depend on, as JSON values; identities aside."""

    @abstractmethod
    def unit_keys(self, data: bytes) -> tuple[str, ...]:
        """The units that the bytes of an identity of kind `units` list, in order.

        Raises:
            BadDocument: when the bytes list none.
        """

    def known_keys(self, data: bytes) -> frozenset[str]:
        """What identifies units in another study: their keys, and the keys of their sources where they have any."""
        return frozenset(self.unit_keys(data))

    @property
    def settings(self) -> Mapping[str, str]:
        """Registered settings that a manifest repeats, such as the number format."""
        return {}

    @property
    def controls(self) -> tuple[str, ...]:
        """Levels of `control_factor` that know nothing and stand beside every number."""
        return ()

    @property
    def default_levels(self) -> Mapping[str, tuple[Level, ...]]:
        """Levels that a filter admits of a factor that it does not name."""
        return {}

    def concerns(self, columns: Sequence[str], cells: Sequence[Cell]) -> Iterator[Concern]:  # noqa: ARG002
        """Reasons to doubt an estimand that reads these columns in these cells."""
        return iter(())

    def same_number(self, x: str, y: str, cells: Sequence[Cell]) -> bool:  # noqa: ARG002
        """Whether two columns always hold the same number in these cells."""
        return False

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factors, in order."""
        return tuple(factor.name for factor in self.factors)

    def select(self, where: Where) -> tuple[Cell, ...]:
        """Cells of a filter, in the design's order.

        Raises:
            ValueError: when the filter names a factor that the design does not have.
        """
        for factor in where.levels:
            if factor not in self.factor_names:
                raise ValueError(f"no factor {factor!r} in a {self.kind} design, only {list(self.factor_names)}")
        filled = {**self.default_levels, **where.levels}
        return tuple(cell for cell in self.cells if all(cell[name] in levels for name, levels in filled.items()))

    @property
    def shard_columns(self) -> frozenset[str]:
        """Columns of a shard that have one value a row: those that a condition can name."""
        return frozenset(column.name for column in self.layout if column.kind not in ("integers", "values"))

    def config_digest(self, cell: Cell) -> Digest:
        """Digest of `config`."""
        return digest_of(self.config(cell))

    def strata(self, cells: Sequence[Cell]) -> tuple[str, ...]:
        """The strata of some cells, sorted."""
        return tuple(sorted({self.stratum(cell) for cell in cells}))

    def check_filter(self, where: Where, place: str) -> None:
        """Refuse a filter that selects nothing, or names something that selects nothing.

        Raises:
            ValueError: saying what is not in the design.
        """
        try:
            cells = self.select(where)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        if not cells:
            raise ValueError(f"{place}: its filter selects no cell of the design")
        # A name that selects nothing is a typing error, even where another name beside it selects something.
        for factor, levels in where.levels.items():
            for level in levels:
                if not any(cell[factor] == level for cell in cells):
                    raise ValueError(f"{place}: {factor} {level!r} selects no cell of the design")
        for condition in where.rows or ():
            if condition.column not in self.shard_columns:
                known = sorted(self.shard_columns)
                raise ValueError(f"{place}: no shard has a column {condition.column!r}, only {known}")
            if isinstance(condition.equals, str) != (condition.column == self.unit):
                raise ValueError(f"{place}: `{self.unit}` equals a text, and no other column does")
