"""Folder names of cells: readable, with a digest of the cell and of its document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vjepa_stress.design import Cell, Design
from vjepa_stress.digest import Digest, digest_of
from vjepa_stress.fields import Level
from vjepa_stress.prereg.lineage import Edition

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+|^\.+")
_LONGEST = 40


def cell_id(prereg: Digest, cell: Cell) -> str:
    """Folder name of a cell: its levels, and a digest of the cell and of its document."""
    key = digest_of({"prereg": prereg, "cell": dict(cell)})
    return "-".join([*map(_readable, cell.values()), key.short])


def _readable(level: Level | None) -> str:
    if level is None:
        return "none"
    return f"{level:g}" if isinstance(level, float) else _NOT_IN_NAMES.sub("_", level)[:_LONGEST]


def cell_names(lineage: Sequence[Edition]) -> dict[Digest, dict[str, Cell]]:
    """Folder names of the cells of each document of a study.

    A cell is named after the first document with the same cell, configuration and identities. A cell that an
    amendment leaves unchanged keeps its folder; a cell that an amendment changes gets a new one.
    """
    designs = [edition.document.design for edition in lineage]
    kinds = sorted({kind for design in designs for kind in design.identities})
    numbers = {kind: _identities(designs, kind) for kind in kinds}
    first: dict[tuple[Any, ...], Digest] = {}
    names: dict[Digest, dict[str, Cell]] = {}
    for index, (edition, design) in enumerate(zip(lineage, designs, strict=True)):
        cells = names.setdefault(edition.digest, {})
        for cell in design.cells:
            bound = {kind: numbers[kind][index][name] for kind, name in design.bound_to(cell).items()}
            key = (design.config_digest(cell), *sorted(bound.items()))
            cells[cell_id(first.setdefault(key, edition.digest), cell)] = cell
    return names


def _identities(designs: Sequence[Design], kind: str) -> list[dict[str, int]]:
    """For each design, a number for the identity of each name. It changes with the specification and the digest.

    A digest that was open and is set later is not a change: it is the one that the first launch pinned.
    """
    current: dict[str, tuple[Digest, Digest | None, int]] = {}
    numbers = []
    for design in designs:
        entries = design.identities.get(kind, {})
        for name, (spec, digest) in entries.items():
            before, known, number = current.get(name, (spec, None, 0))
            if before != spec or (known and digest and known != digest):
                known, number = None, number + 1
            current[name] = (spec, digest or known, number)
        numbers.append({name: current[name][2] for name in entries})
    return numbers
