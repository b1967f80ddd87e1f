"""The checks of the gate, each with a name, what it reads and its errors, in the order in which they run.

Tampering ends at once (exit code 3). What merely stops an evaluation (11) is collected in `GateState.objections`, so
that tampering found later still comes first, and so that `--exploratory` can look nevertheless. Nothing is skipped
because it is missing, and nothing here writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from vjepa_stress.digest import Digest
from vjepa_stress.errors import (
    CellsIncomplete,
    CodeChanged,
    DuplicateIdentifier,
    FlaggedValues,
    IdentityChanged,
    LedgerTampered,
    ManifestTampered,
    NoSuccessor,
    ResultTampered,
    RowsMissing,
    RunBeforeRegistration,
    ShardTampered,
    StressError,
)
from vjepa_stress.ledger import Checkpoint, Execution, Launched, Registered
from vjepa_stress.prereg import clips
from vjepa_stress.prereg.lineage import check_claims
from vjepa_stress.prereg.traces import check_outputs, check_shown
from vjepa_stress.records import StoredCell, cell_folders, read_cell, shard_schema
from vjepa_stress.verdict.gate.state import GateState

_RESTORE = "restore the attempt from a copy"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: as `audit` prints it.
        reads: what it reads.
        errors: the errors that it raises or collects.
        run: fills in the state, collects objections, raises on tampering.
    """

    name: str
    reads: str
    errors: tuple[type[StressError], ...]
    run: Callable[[GateState], None]


def check_traces(state: GateState) -> None:
    """All outputs of the study lie under a registration that the ledger holds."""
    check_outputs(state.root, state.study, state.outputs)


def check_identifiers(state: GateState) -> None:
    """No hypothesis id stands for two claims, in one document or in several."""
    counts = Counter(hypothesis.id for hypothesis in state.registration.document.hypotheses)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DuplicateIdentifier("a hypothesis id stands for two claims", found=", ".join(twice))
    documents = [edition.document for edition in state.registration.lineage]
    for number, document in enumerate(documents):
        check_claims(documents[:number], document)


def check_order(state: GateState) -> None:
    """Registration precedes every launch, and an amendment every launch under it."""
    for leaf in state.leaves:
        if not isinstance(leaf, Execution):
            continue
        promised = (state.registration.edition(leaf.document) or state.registration.lineage[0]).leaf
        if leaf.seq > promised.seq:
            continue
        state.objections.append(
            RunBeforeRegistration(
                "a run was launched before the study was registered"
                if isinstance(promised, Registered)
                else "a run was launched before the amendment that it was made under",
                where=f"{state.root.ledger}, line {leaf.seq + 1}",
                expected=f"after line {promised.seq + 1}",
                fix="such a study cannot be judged; register a new one and run it",
            )
        )


def check_cells(state: GateState) -> None:
    """The cells present are exactly the registered ones, and each shard has the digests of its manifest."""
    expected, former = state.attempts.current, state.attempts.former
    present = {path.name: path for path in cell_folders(state.folder)}
    missing = sorted(set(expected) - set(present))
    extra = sorted(set(present) - set(expected) - state.ignored)
    found: dict[str, StoredCell] = {}
    for name, cell in sorted({**expected, **former}.items(), key=lambda item: item[0]):
        if name not in present:
            continue
        found[name] = stored = read_cell(present[name])
        if stored.manifest.cell != cell:
            raise ManifestTampered(
                "the manifest in a cell's folder is of another cell",
                where=stored.folder,
                expected=cell,
                found=stored.manifest.cell,
                fix=_RESTORE,
            )
    state.stored = {expected[name]: stored for name, stored in found.items() if name in expected}
    state.former = {name: cell for name, cell in former.items() if name in found}
    if missing or extra:
        state.objections.append(
            CellsIncomplete(
                "the cells present are not exactly the cells registered",
                where=state.folder,
                expected=f"{len(expected)} cells",
                found=f"{len(missing)} missing {missing[:3]}, {len(extra)} not registered {extra[:3]}",
                fix=f"vjepa-stress run {state.study}",
            )
        )
    elif not state.attempts.covered(state.attempt):
        state.objections.append(
            CellsIncomplete(
                "the attempt has all its cells, and the ledger has no completion of it",
                where=state.folder,
                fix=f"vjepa-stress run {state.study}",
            )
        )
    _check_completions(state, found, incomplete=bool(missing))


def _check_completions(state: GateState, found: dict[str, StoredCell], *, incomplete: bool) -> None:
    """The manifests of each completion have the Merkle root that the ledger holds."""
    for leaf in state.attempts.completions(state.attempt):
        gone = sorted(state.attempts.cells_of(leaf).keys() - found.keys())
        if not gone:
            state.attempts.check_root(leaf, found, state.folder)
        elif not incomplete:
            state.objections.append(
                CellsIncomplete(
                    "cells that an amendment took out of the design are missing; they are evidence nevertheless",
                    where=state.folder,
                    expected=f"the cells completed in line {leaf.seq + 1} of the ledger",
                    found=f"{len(gone)} missing {gone[:3]}",
                    fix=_RESTORE,
                )
            )


def check_manifests(state: GateState) -> None:
    """Every manifest is bound to this lineage, and to what its launch bound, which is what was registered."""
    units = {pair: _units(state, *pair) for pair in _launched_units(state)}
    for cell, stored in state.stored.items():
        leaf = state.launch_of[stored.folder.name] = _launch_of(state, stored)
        manifest, design = stored.manifest, state.design
        bound = design.bound_to(cell)
        expectations: list[tuple[str, object, object]] = [
            ("preregistration", leaf.document, manifest.prereg_digest),
            ("attempt", state.attempt, manifest.attempt),
            ("specifications", design.config_digest(cell), manifest.config_digest),
            ("settings", dict(design.settings), manifest.settings),
        ]
        for kind, name in bound.items():
            launched, used = leaf.bound(kind).get(name), manifest.identities.get(kind)
            expectations += [
                (kind, launched, used),
                (kind, design.identities[kind][name].digest or used, used),
            ]
        name = bound[design.units]
        launched = leaf.bound(design.units).get(name)
        expectations.append((design.units, units.get((name, launched)) if launched else None, manifest.units))
        for what, expected, found in expectations:
            if expected != found:
                raise ManifestTampered(
                    f"a manifest differs from its launch or registration in its {what}",
                    where=stored.folder / "manifest.json",
                    expected=expected,
                    found=found,
                    fix=_RESTORE,
                )


def _launched_units(state: GateState) -> set[tuple[str, Digest]]:
    used = {state.design.bound_to(cell)[state.design.units] for cell in state.stored}
    pairs = {pair for leaf in state.attempts.launches for pair in leaf.bound(state.design.units).items()}
    return {(name, digest) for name, digest in pairs if name in used}


def _units(state: GateState, name: str, digest: Digest) -> tuple[str, ...]:
    return state.design.unit_keys(clips.verified(state.units_path(name, digest), digest))


def _launch_of(state: GateState, stored: StoredCell) -> Launched:
    view, where = state.registration.ledger, stored.folder / "manifest.json"
    before = Checkpoint(stored.manifest.ledger_checkpoint.size, stored.manifest.ledger_checkpoint.root)
    if not view.contains(before):
        raise LedgerTampered(
            "the manifest's checkpoint is not a prefix of this ledger",
            where=where,
            expected=before.short,
            found=view.checkpoint().short,
            fix="the ledger was cut or rewritten: restore it from a copy",
        )
    leaf = view.leaves[before.size - 1] if before.size else None
    # The document that the launch was made under must have had this very cell.
    if (
        not isinstance(leaf, Launched)
        or leaf not in state.attempts.launches
        or stored.folder.name not in leaf.cells
        or stored.folder.name not in state.attempts.cells_of(leaf)
    ):
        raise ManifestTampered(
            "the manifest's checkpoint is not that of a launch of its cell",
            where=where,
            expected="the checkpoint right after a `launched` leaf that lists the cell",
            found=before.short,
            fix=_RESTORE,
        )
    return leaf


def check_code(state: GateState) -> None:
    """All cells were computed by the launched code, and all launches of the attempt had one code."""
    for stored in state.stored.values():
        leaf = state.launch_of[stored.folder.name]
        if stored.manifest.code_digest != leaf.code:
            _object_to_code(state, stored.folder.name, leaf.code, stored.manifest.code_digest)
    mine = [leaf for leaf in state.attempts.launches if leaf.attempt == state.attempt]
    for earlier, later in pairwise(mine):
        if earlier.code != later.code and not later.deviation:
            _object_to_code(state, f"{state.root.ledger}, line {later.seq + 1}", earlier.code, later.code)


def _object_to_code(state: GateState, where: str, expected: str, found: str) -> None:
    state.objections.append(
        CodeChanged(
            "cells were computed by code other than the launched one, and no deviation says why",
            where=where,
            expected=expected,
            found=found,
            fix=f"make another attempt with one code: vjepa-stress run {state.study} --again",
        )
    )


def check_columns(state: GateState) -> None:
    """Every shard has the columns that the design declares."""
    schema = shard_schema(state.design)
    for stored in state.stored.values():
        if not stored.table.schema.equals(schema):
            raise ShardTampered(
                "a shard's columns are not those that its design declares",
                where=stored.folder,
                expected=", ".join(schema.names),
                found=", ".join(stored.table.column_names),
                fix=_RESTORE,
            )


def check_rows(state: GateState) -> None:
    """Every shard has one row for each registered unit."""
    for cell, stored in state.stored.items():
        names, expected = (
            stored.table[state.design.unit].to_pylist(),
            state.design.count_units(state.design.stratum(cell)),
        )
        known = len(set(names) & set(stored.manifest.units))
        if len(names) != expected or Counter(names) != Counter(stored.manifest.units):
            state.objections.append(
                RowsMissing(
                    f"a shard does not have one row for each registered {state.design.unit}",
                    where=stored.folder,
                    expected=f"{expected} rows",
                    found=f"{len(names)} rows, {known} of them registered",
                    fix=f"make another attempt: vjepa-stress run {state.study} --again",
                )
            )


def check_values(state: GateState) -> None:
    """No row is flagged, and every value lies in its column's range."""
    for stored in state.stored.values():
        out_of_range = sorted(
            name
            for name, column in state.design.columns.items()
            if any(
                not column.range[0] <= value <= column.range[1]
                for value in stored.table[name].drop_null().to_pylist()
            )
        )
        flags = [column.name for column in state.design.layout if column.kind == "flag"]
        if any(any(stored.table[name].to_pylist()) for name in flags) or out_of_range:
            state.objections.append(
                FlaggedValues(
                    "a shard holds values that no metric can have",
                    where=stored.folder,
                    expected="finite features, values in the metrics' ranges",
                    found=f"out of range: {', '.join(out_of_range)}" if out_of_range else "non-finite features",
                    fix=f"find the cause; a repaired run is another attempt: vjepa-stress run {state.study} --again",
                )
            )


def check_results(state: GateState) -> None:
    """Every verdict and report on the disk was logged, with the bytes that it has."""
    check_shown(state.outputs, state.ledger, state.study)


CHECKS = (
    Check("outputs", "the study's output folders and the ledger", (LedgerTampered,), check_traces),
    Check("identifiers", "hypotheses of every version", (DuplicateIdentifier, NoSuccessor), check_identifiers),
    Check("order", "the ledger: registrations before launches", (RunBeforeRegistration,), check_order),
    Check(
        "cells",
        "shards, manifests, and their Merkle root in the ledger",
        (ShardTampered, ManifestTampered, CellsIncomplete),
        check_cells,
    ),
    Check(
        "manifests",
        "manifests, their launches, the registration, the lists of units",
        (LedgerTampered, ManifestTampered, IdentityChanged),
        check_manifests,
    ),
    Check("code", "code digests of manifests and launches", (CodeChanged,), check_code),
    Check("columns", "columns of every shard", (ShardTampered,), check_columns),
    Check("rows", "rows of every shard, and the registered units", (RowsMissing,), check_rows),
    Check("values", "values of every shard, and the metrics' ranges", (FlaggedValues,), check_values),
    Check("results", "verdicts and reports on the disk, and the looks logged", (ResultTampered,), check_results),
)
"""Every check of the gate, in order."""
