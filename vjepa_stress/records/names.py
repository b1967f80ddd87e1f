"""Folder names of cells: readable, and bound by digest to the document that a cell comes from."""

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
    """Folder name of a cell: readable, and bound by digest to the cell and the document it comes from."""
    key = digest_of({"prereg": prereg, "cell": dict(cell)})
    return "-".join([*map(_readable, cell.values()), key.short])


def _readable(level: Level | None) -> str:
    if level is None:
        return "none"
    return f"{level:g}" if isinstance(level, float) else _NOT_IN_NAMES.sub("_", level)[:_LONGEST]


def cell_names(lineage: Sequence[Edition]) -> dict[Digest, dict[str, Cell]]:
    """Folder names of the cells of each document of a study.

    A cell is named after the first document in which it is what it is: one that an amendment leaves as it was keeps
    its folder, one that an amendment changes gets another.
    """
    designs = [edition.document.design for edition in lineage]
    kinds = sorted({kind for design in designs for kind in design.identities})
    numbers = {kind: _identities(designs, kind) for kind in kinds}
    homes: dict[tuple[Any, ...], Digest] = {}
    names: dict[Digest, dict[str, Cell]] = {}
    for place, (edition, design) in enumerate(zip(lineage, designs, strict=True)):
        mine = names.setdefault(edition.digest, {})
        for cell in design.cells:
            bound = {kind: numbers[kind][place][name] for kind, name in design.bound_to(cell).items()}
            key = (design.config_digest(cell), *sorted(bound.items()))
            mine[cell_id(homes.setdefault(key, edition.digest), cell)] = cell
    return names


def _identities(designs: Sequence[Design], kind: str) -> list[dict[str, int]]:
    """A number for what each name stands for; it changes with the specification, and with the digest.

    A digest that was left open and is known later is no change: it is what the first launch pinned.
    """
    now: dict[str, tuple[Digest, Digest | None, int]] = {}
    found = []
    for design in designs:
        entries = design.identities.get(kind, {})
        for name, (spec, digest) in entries.items():
            before, known, number = now.get(name, (spec, None, 0))
            if before != spec or (known and digest and known != digest):
                known, number = None, number + 1
            now[name] = (spec, digest or known, number)
        found.append({name: now[name][2] for name in entries})
    return found
