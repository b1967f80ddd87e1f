"""Selecting registered cells, and naming the level that does not fit where nothing is registered."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.errors import OutsideDesign
from vjepa_stress.sweep.draft import CellFilter

_REGISTERED_ONLY = "run a registered cell, or add --exploratory: such results never reach a verdict"


def select(design: VideoDesign, wanted: CellFilter) -> tuple[VideoCell, ...]:
    """Registered cells that were asked for.

    Raises:
        OutsideDesign: when a level was asked for that no registered cell has, or none together with the other levels.
    """
    asked = {field: values for field, values in vars(wanted).items() if values is not None}
    cells = tuple(cell for cell in design.cells if wanted.admits(cell))
    for field, values in asked.items():
        known = _levels(design.cells, field)
        for value in values:
            if value not in known:
                close = difflib.get_close_matches(_level(value), map(_level, known), n=1)
                raise OutsideDesign(
                    f"{field} {_level(value)} is not in the registered design",
                    where=field,
                    expected=", ".join(map(_level, known)),
                    found=_level(value) + (f"; did you mean {close[0]}?" if close else ""),
                    fix=_REGISTERED_ONLY,
                )
    for field, values in asked.items():
        for value in values:
            if all(cell[field] != value for cell in cells):
                raise _not_together(design.cells, asked, field, value)
    return cells


def _level(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _levels(cells: Iterable[VideoCell], field: str) -> list[Any]:
    """Levels of a field, sorted; probes, which have no strength, come first."""
    found = {cell[field] for cell in cells}
    return sorted(found, key=lambda level: (level is not None, level))


def _not_together(
    cells: Iterable[VideoCell], asked: Mapping[str, tuple[Any, ...]], field: str, value: object
) -> OutsideDesign:
    """The error for a level that is registered, but not with the others: it names as few of those as are needed."""
    having = [cell for cell in cells if cell[field] == value]
    others = [name for name in asked if name != field]
    clashing = next(
        names
        for size in range(1, len(others) + 1)
        for names in itertools.combinations(others, size)
        if not any(all(cell[name] in asked[name] for name in names) for cell in having)
    )
    said = " and ".join(f"{name} {', '.join(map(_level, asked[name]))}" for name in clashing)
    known = "; ".join(f"{name} {', '.join(map(_level, _levels(having, name)))}" for name in clashing)
    return OutsideDesign(
        f"no registered cell has {field} {_level(value)} together with {said}",
        where=f"{field} and {' and '.join(clashing)}",
        expected=f"with {field} {_level(value)}: {known}",
        found=said,
        fix=_REGISTERED_ONLY,
    )
