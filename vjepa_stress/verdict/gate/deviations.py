"""Deviations from the registration, found in the ledger and the outputs. They are codes and values, no sentences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from pydantic import Field

from vjepa_stress.design import Cell
from vjepa_stress.fields import Frozen, Time
from vjepa_stress.ledger import Execution, Explored, Launched, Viewed, Withdrawn
from vjepa_stress.prereg.lineage import changed_paths
from vjepa_stress.records import failures
from vjepa_stress.verdict.gate.state import GateState

Code = Literal[
    "amendment",
    "withdrawal",
    "cells-out-of-design",
    "exploratory-run",
    "uncommitted-code",
    "changed-code",
    "other-attempt",
    "failed-cell",
    "pinned-late",
]


class Deviation(Frozen):
    """A deviation from the registration.

    Attributes:
        code: kind of deviation.
        line: line of the ledger, from 1; null if no line logs it.
        at: time; null if unknown.
        values: values in its text: versions, counts, names, digests.
    """

    code: Code
    line: int | None = Field(default=None, exclude_if=lambda line: line is None)
    at: Time | None = Field(default=None, exclude_if=lambda at: at is None)
    values: dict[str, str | int | tuple[str, ...]] = Field(default_factory=dict)


def deviations(state: GateState) -> tuple[Deviation, ...]:
    """All deviations: amendments first, then by kind, each kind in the order of events."""
    return (
        *_amendments(state),
        *_former_cells(state),
        *_launches(state),
        *_other_attempts(state),
        *_failures(state),
        *_pinned_late(state),
    )


def _amendments(state: GateState) -> Iterator[Deviation]:
    for before, after in pairwise(state.registration.lineage):
        earlier = [leaf for leaf in state.leaves if leaf.seq < after.leaf.seq]
        yield Deviation(
            code="withdrawal" if isinstance(after.leaf, Withdrawn) else "amendment",
            line=after.leaf.seq + 1,
            at=after.leaf.at,
            values={
                "version": after.document.version,
                "launches": sum(isinstance(leaf, Execution) for leaf in earlier),
                "looks": sum(isinstance(leaf, Viewed) for leaf in earlier),
                "changed": changed_paths(before.document, after.document),
            },
        )


def _former_cells(state: GateState) -> Iterator[Deviation]:
    if state.former:
        cells = tuple(str(cell) for cell in sorted(state.former.values(), key=Cell.order))
        yield Deviation(code="cells-out-of-design", values={"cells": cells})


def _launches(state: GateState) -> Iterator[Deviation]:
    for leaf in state.leaves:
        line, at = leaf.seq + 1, leaf.at
        if isinstance(leaf, Explored):
            yield Deviation(code="exploratory-run", line=line, at=at, values={"cells": len(leaf.cells)})
        if isinstance(leaf, Launched):
            if leaf.dirty:
                yield Deviation(code="uncommitted-code", line=line, at=at, values={"code": leaf.code})
            if leaf.deviation:
                yield Deviation(code="changed-code", line=line, at=at, values={"code": leaf.code})


def _other_attempts(state: GateState) -> Iterator[Deviation]:
    for number in sorted({leaf.attempt for leaf in state.attempts.launches} - {state.attempt}):
        complete = "complete" if state.attempts.covered(number) else "incomplete"
        yield Deviation(code="other-attempt", values={"attempt": number, "state": complete})


def _failures(state: GateState) -> Iterator[Deviation]:
    for failure in failures(state.folder):
        if failure.prereg_digest in state.attempts.names:  # otherwise it is of a later amendment, which is not judged
            values: dict[str, str | int | tuple[str, ...]] = {
                "cells": tuple(map(str, failure.cells)),
                "unit": failure.unit_name,
                "error": failure.error,
            }
            yield Deviation(code="failed-cell", at=failure.at, values=values)


def _pinned_late(state: GateState) -> Iterator[Deviation]:
    for kind, entries in state.design.identities.items():
        for name, entry in entries.items():
            if entry.digest is None:
                yield Deviation(code="pinned-late", values={"kind": kind, "name": name})
