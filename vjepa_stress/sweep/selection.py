"""Select registered cells, and explain which requested level is not registered."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.errors import OutsideDesign, did_you_mean

_REGISTERED_ONLY = "select registered cells, or add --exploratory; exploratory results are never judged"


@dataclass(frozen=True)
class CellFilter:
    """Levels of the requested cells; None allows every level."""

    dataset: tuple[str, ...] | None = None
    model: tuple[str, ...] | None = None
    perturbation: tuple[str, ...] | None = None
    strength: tuple[float, ...] | None = None
    seed: tuple[int, ...] | None = None

    def admits(self, cell: VideoCell) -> bool:
        """Whether a cell has requested levels only."""
        return all(levels is None or cell[field] in levels for field, levels in vars(self).items())


def select(design: VideoDesign, cell_filter: CellFilter) -> tuple[VideoCell, ...]:
    """The requested cells of a registered design.

    Raises:
        OutsideDesign: when no registered cell has a requested level, or has it together with the other levels.
    """
    requested = {field: values for field, values in vars(cell_filter).items() if values is not None}
    cells = tuple(cell for cell in design.cells if cell_filter.admits(cell))
    for field, values in requested.items():
        known = _levels(design.cells, field)
        for value in values:
            if value not in known:
                question = None if field == "strength" else did_you_mean(value, map(_level, known), most=1)
                raise OutsideDesign(
                    f"{field} {_level(value)} is not in the registered design",
                    where=field,
                    expected=", ".join(map(_level, known)),
                    found=_level(value) + (f"; {question}" if question else ""),
                    fix=_REGISTERED_ONLY,
                )
    clashes = [
        _not_together(design.cells, requested, field, value)
        for field, values in requested.items()
        for value in values
        if all(cell[field] != value for cell in cells)
    ]
    if clashes:
        raise min(clashes, key=lambda error: str(error.where).count(" and "))
    return cells


def grouped(cells: Iterable[VideoCell]) -> dict[tuple[str, str], list[VideoCell]]:
    """Cells by model and data set, in that order; the cells of one group are computed together."""
    groups: dict[tuple[str, str], list[VideoCell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.dataset), []).append(cell)
    return dict(sorted(groups.items()))


def _level(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _levels(cells: Iterable[VideoCell], field: str) -> list[Any]:
    """Levels of a factor, sorted. The strength of probes, None, comes first."""
    levels = {cell[field] for cell in cells}
    return sorted(levels, key=lambda level: (level is not None, level))


def _not_together(
    cells: Iterable[VideoCell], requested: Mapping[str, tuple[Any, ...]], field: str, value: object
) -> OutsideDesign:
    """The error for a level that is registered, but not together with others; it names as few others as possible."""
    having = [cell for cell in cells if cell[field] == value]
    others = [name for name in requested if name != field]
    clashing = next(
        names
        for size in range(1, len(others) + 1)
        for names in itertools.combinations(others, size)
        if not any(all(cell[name] in requested[name] for name in names) for cell in having)
    )
    combination = " and ".join(f"{name} {', '.join(map(_level, requested[name]))}" for name in clashing)
    known = "; ".join(f"{name} {', '.join(map(_level, _levels(having, name)))}" for name in clashing)
    return OutsideDesign(
        f"no registered cell has {field} {_level(value)} together with {combination}",
        where=f"{field} and {' and '.join(clashing)}",
        expected=f"with {field} {_level(value)}: {known}",
        found=combination,
        fix=_REGISTERED_ONLY,
    )
