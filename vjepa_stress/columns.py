"""The columns of a shard: one list for what writes shards, what reads them and what filters their rows.

One row is one unit of the design, for videos a clip.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["unit", "value", "count", "integers", "values", "flag"]
"""The unit's digest; a metric's value or null; a count; a list of integers, or of numbers, or null; true or false."""

UNIT = "clip"
"""Name of the column that says which unit a row is of."""

FLAG = "non_finite"
"""Name of the column that is true where a feature or value of the row is not finite."""

COUNTS = ("n", "n_both_zero", "n_one_zero", "n_non_finite")
"""Columns beside each metric, as `M2_n` and so on, named after the fields of a measurement."""

REGIONS: dict[str, Literal["integers", "values"]] = {"objects": "integers", "J": "values", "F": "values"}
"""Lists beside a metric that compares regions, as `M3_objects` and so on: one entry an object; null without value."""


@dataclass(frozen=True)
class Column:
    """One column of a shard.

    Attributes:
        name: as the file has it.
        kind: what it holds.
        metric: the metric column that it belongs to, itself for a value; empty for the unit and the flag.
        part: which count or list of the measurement it is; empty for all other kinds.
    """

    name: str
    kind: ColumnKind
    metric: str = ""
    part: str = ""


def shard_columns(metrics: Sequence[str], regions: Collection[str] = (), unit: str = UNIT) -> tuple[Column, ...]:
    """All columns of a shard, in the order of the file.

    Args:
        metrics: the metric columns, in the order of the design.
        regions: those of them that have lists of objects beside them.
        unit: name of the column with the unit's digest.
    """
    columns = [Column(unit, "unit")]
    for name in metrics:
        columns.append(Column(name, "value", name))
        columns += [Column(f"{name}_{count}", "count", name, count) for count in COUNTS]
        if name in regions:
            columns += [Column(f"{name}_{part}", kind, name, part) for part, kind in REGIONS.items()]
    return (*columns, Column(FLAG, "flag"))
