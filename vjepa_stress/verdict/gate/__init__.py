"""The gate: named checks that run in order before an evaluation."""

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
    """Result of a check. A check that finds tampering raises an error instead.

    Attributes:
        name, reads: see `Check`.
        objections: number of objections; 0 if the check passed.
    """

    name: str
    reads: str
    objections: int


@dataclass(frozen=True)
class Evidence:
    """The verified evidence of a verdict.

    Attributes:
        registration: the documents of the study.
        attempt: the judged attempt.
        cells: its cells.
        table: their shards.
        deviations: deviations from the registration.
        checkpoint: checkpoint of the ledger up to the last leaf of this study that is not a look.
        checks: results of the checks, in order.
        objections: reasons against an evaluation; empty unless exploratory.
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
    """Run all checks and collect the evidence.

    Args:
        root: the study root.
        study: its name.
        exploratory: continue if there are objections. Tampering always raises an error.
        as_of: use only the first `as_of` leaves of the ledger, as at an earlier look.

    Raises:
        Tampered: when a frozen or logged file has changed.
        NotEvaluable: when the evidence is intact but incomplete or invalid, and `exploratory` is false.
    """
    full = ledger.read(root)
    view = full if as_of is None else full.first(as_of)
    registration = freeze.load(root, study, view)
    attempts = Attempts.of(registration)
    ignored = set(attempts.former)
    if as_of is not None:
        # Cells that a later amendment added are in the same folder and must be ignored.
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
        Table.of(shards, tuple(document.design.columns), document.design.unit, excluded, state.sources),
        deviations(state),
        view.checkpoint(last + 1),
        tuple(results),
        tuple(state.objections),
    )


def _run(check: Check, state: GateState) -> CheckResult:
    before = len(state.objections)
    check.run(state)
    return CheckResult(check.name, check.reads, len(state.objections) - before)
