"""The columns of a shard. Writing, reading and filtering of shards use this list.

One row is one unit of the design; in a video design, one clip.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["unit", "value", "count", "integers", "values", "flag"]
"""Digest of the unit; value of a metric or null; count; integers or null; numbers or null; true or false."""

UNIT = "clip"
"""Name of the column with the digest of the unit."""

FLAG = "non_finite"
"""Name of the column that is true when a feature or a value of the row is not finite."""

COUNTS = ("n", "n_both_zero", "n_one_zero", "n_non_finite")
"""Counts of each metric, named after the fields of a measurement. Their columns are `M2_n` and so on."""

REGIONS: dict[str, Literal["integers", "values"]] = {"objects": "integers", "J": "values", "F": "values"}
"""Lists of each metric that compares regions, one entry per object, or null when the metric has no value.

Their columns are `M3_objects` and so on.
"""


@dataclass(frozen=True)
class Column:
    """One column of a shard.

    Attributes:
        name: its name in the file.
        kind: the type of its values.
        metric: the metric that it belongs to; empty for the unit and the flag.
        part: the count or list of the measurement; empty for all other kinds.
    """

    name: str
    kind: ColumnKind
    metric: str = ""
    part: str = ""


def shard_columns(metrics: Sequence[str], regions: Collection[str] = (), unit: str = UNIT) -> tuple[Column, ...]:
    """All columns of a shard, in the order of the file.

    Args:
        metrics: the metric columns, in the order of the design.
        regions: the metric columns that also have lists of objects.
        unit: name of the column with the digest of the unit.
    """
    columns = [Column(unit, "unit")]
    for name in metrics:
        columns.append(Column(name, "value", name))
        columns += [Column(f"{name}_{count}", "count", name, count) for count in COUNTS]
        if name in regions:
            columns += [Column(f"{name}_{part}", kind, name, part) for part, kind in REGIONS.items()]
    return (*columns, Column(FLAG, "flag"))
