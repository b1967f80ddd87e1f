"""What must hold before anything is evaluated: a list of named checks, run in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vjepa_stress import ledger
from vjepa_stress.design import Cell
from vjepa_stress.errors import NotEvaluable
from vjepa_stress.ledger import Checkpoint, Viewed
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.records import Attempts, StoredCell, cell_names
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.gate.checks import CHECKS, Check
from vjepa_stress.verdict.gate.deviations import Deviation, deviations
from vjepa_stress.verdict.gate.state import GateState
from vjepa_stress.verdict.table import Table

__all__ = ["CHECKS", "Check", "CheckResult", "Deviation", "Evidence", "gate"]


@dataclass(frozen=True)
class CheckResult:
    """What a check came to.

    Attributes:
        name, reads: of the check.
        objections: how many it raised; none where it passed. Tampering never gets this far.
    """

    name: str
    reads: str
    objections: int


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict may rest on, verified.

    Attributes:
        registration: the frozen promise, and those before it.
        attempt: the attempt that counts.
        cells: its cells.
        table: their shards.
        deviations: what was done that the promise does not say.
        checkpoint: the ledger at this study's last leaf that is no look.
        checks: what was checked, in order.
        objections: what stops an evaluation; empty unless exploratory.
    """

    registration: Registration
    attempt: int
    cells: Mapping[Cell, StoredCell]
    table: Table
    deviations: tuple[Deviation, ...]
    checkpoint: Checkpoint
    checks: tuple[CheckResult, ...]
    objections: tuple[NotEvaluable, ...]


def gate(root: StudyRoot, study: str, *, exploratory: bool = False, as_of: int | None = None) -> Evidence:
    """Check everything and collect the evidence.

    Args:
        root: the study root.
        study: its name.
        exploratory: go on in spite of what stops an evaluation. Tampering is never passed over.
        as_of: judge by the ledger's first so many leaves, as somebody did who looked then.

    Raises:
        Tampered: when something fixed has changed.
        NotEvaluable: when the evidence is intact but incomplete or invalid.
    """
    full = ledger.read(root)
    view = full if as_of is None else full.first(as_of)
    registration = freeze.load(root, study, view)
    attempts = Attempts.of(registration)
    ignored = set(attempts.former)
    if as_of is not None:
        # Cells that a later amendment added lie among those that were judged then.
        later = cell_names(freeze.load(root, study, full).lineage).values()
        ignored |= {name for cells in later for name in cells} - attempts.current.keys()
    state = GateState(root, full, registration, attempts, frozenset(ignored))
    results = [
        CheckResult("ledger", "the ledger's lines, its tree and its checkpoint", 0),
        CheckResult("documents", "every version of the registration, and the leaf that logged it", 0),
        *(_run(check, state) for check in CHECKS),
    ]
    if state.objections and not exploratory:
        raise state.objections[0]
    document = registration.document
    excluded = frozenset(exclusion.clip for exclusion in document.analysis.exclusions)
    shards = {cell: stored.table for cell, stored in state.stored.items()}
    last = max(leaf.seq for leaf in view.of(study) if not isinstance(leaf, Viewed))
    return Evidence(
        registration,
        state.attempt,
        state.stored,
        Table.of(shards, tuple(document.design.columns), document.design.unit, excluded),
        deviations(state),
        view.checkpoint(last + 1),
        tuple(results),
        tuple(state.objections),
    )


def _run(check: Check, state: GateState) -> CheckResult:
    before = len(state.objections)
    check.run(state)
    return CheckResult(check.name, check.reads, len(state.objections) - before)
