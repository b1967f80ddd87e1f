"""The checks of the gate, in the order in which they run.

Tampering raises an error at once (exit code 3). Objections, which only prevent an evaluation (exit code 11), are
collected in `GateState.objections`. Therefore tampering that is found later takes precedence, and `--exploratory` can
continue. No check is skipped because files are missing, and no check writes files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
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
        name: name in the output of `audit`.
        reads: what it reads.
        errors: errors that it raises or collects.
        run: fills in the state, collects objections, and raises an error on tampering.
    """

    name: str
    reads: str
    errors: tuple[type[StressError], ...]
    run: Callable[[GateState], None]


def check_traces(state: GateState) -> None:
    """All outputs of the study belong to its registration in the ledger."""
    check_outputs(state.root, state.study, state.outputs)


def check_identifiers(state: GateState) -> None:
    """No two claims have the same hypothesis id, in one document or in several versions."""
    counts = Counter(hypothesis.id for hypothesis in state.registration.document.hypotheses)
    duplicates = [name for name, count in counts.items() if count > 1]
    if duplicates:
        raise DuplicateIdentifier(
            "two claims have the same hypothesis id",
            found=", ".join(duplicates),
            fix="amend the study, and give each claim its own id",
        )
    documents = [edition.document for edition in state.registration.lineage]
    for number, document in enumerate(documents):
        check_claims(documents[:number], document)


def check_order(state: GateState) -> None:
    """A registration precedes all launches, and an amendment precedes all launches under it."""
    for leaf in state.leaves:
        if not isinstance(leaf, Execution):
            continue
        registered = (state.registration.edition(leaf.document) or state.registration.lineage[0]).leaf
        if leaf.seq > registered.seq:
            continue
        state.objections.append(
            RunBeforeRegistration(
                "a run was launched before the registration of the study"
                if isinstance(registered, Registered)
                else "a run was launched before the registration of its amendment",
                where=f"{state.root.ledger}, line {leaf.seq + 1}",
                expected=f"after line {registered.seq + 1}",
                fix="this study cannot be judged; register a new study and run it",
            )
        )


def check_cells(state: GateState) -> None:
    """The stored cells are exactly the registered cells, and each shard has the digests of its manifest."""
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
                "the folder of a cell has the manifest of another cell",
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
                "the stored cells are not exactly the registered cells",
                where=state.folder,
                expected=f"{len(expected)} cells",
                found=f"{_first(missing)} missing, {_first(extra)} not registered",
                fix=f"vjepa-stress run {state.study}",
            )
        )
    elif not state.attempts.covered(state.attempt):
        state.objections.append(
            CellsIncomplete(
                "the attempt has all cells, but the ledger has no `completed` leaf for it",
                where=state.folder,
                fix=f"vjepa-stress run {state.study}",
            )
        )
    _check_completions(state, found, incomplete=bool(missing))


def _first(names: list[str]) -> str:
    """How many names there are, with the first three."""
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "0"


def _check_completions(state: GateState, found: dict[str, StoredCell], *, incomplete: bool) -> None:
    """The manifests of each completion have the Merkle root in the ledger."""
    for leaf in state.attempts.completions(state.attempt):
        missing = sorted(state.attempts.cells_of(leaf).keys() - found.keys())
        if not missing:
            state.attempts.check_root(leaf, found, state.folder)
        elif not incomplete:
            state.objections.append(
                CellsIncomplete(
                    "cells that an amendment removed from the design are missing; the completion cannot be verified",
                    where=state.folder,
                    expected=f"the cells completed in line {leaf.seq + 1} of the ledger",
                    found=f"{_first(missing)} missing",
                    fix=_RESTORE,
                )
            )


def check_manifests(state: GateState) -> None:
    """Every manifest matches its launch, and the launch matches the registration."""
    lists = {pair: _units(state, *pair) for pair in _launched_units(state)}
    for sources in lists.values():
        state.sources |= sources
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
        units = lists.get((name, launched), {}) if launched else {}
        registered = design.count_sources(design.stratum(cell))
        expectations += [
            (design.units, tuple(units), manifest.units),
            ("number of sources", registered, len(set(units.values()))),
        ]
        for field, expected, found in expectations:
            if expected != found:
                raise ManifestTampered(
                    f"a manifest differs from its launch or registration: {field}",
                    where=stored.folder / "manifest.json",
                    expected=expected,
                    found=found,
                    fix=_RESTORE,
                )


def _launched_units(state: GateState) -> set[tuple[str, Digest]]:
    used = {state.design.bound_to(cell)[state.design.units] for cell in state.stored}
    pairs = {pair for leaf in state.attempts.launches for pair in leaf.bound(state.design.units).items()}
    return {(name, digest) for name, digest in pairs if name in used}


def _units(state: GateState, name: str, digest: Digest) -> Mapping[str, str]:
    """Each unit of a list with its source, in order."""
    return state.design.unit_sources(clips.verified(state.units_path(name, digest), digest))


def _launch_of(state: GateState, stored: StoredCell) -> Launched:
    view, where = state.registration.ledger, stored.folder / "manifest.json"
    before = Checkpoint(stored.manifest.ledger_checkpoint.size, stored.manifest.ledger_checkpoint.root)
    if not view.contains(before):
        raise LedgerTampered(
            "the checkpoint of a manifest is not a prefix of this ledger",
            where=where,
            expected=before.short,
            found=view.checkpoint().short,
            fix="restore the ledger from a copy: it was truncated or rewritten",
        )
    leaf = view.leaves[before.size - 1] if before.size else None
    # The document of the launch must have the same cell.
    if (
        not isinstance(leaf, Launched)
        or leaf not in state.attempts.launches
        or stored.folder.name not in leaf.cells
        or stored.folder.name not in state.attempts.cells_of(leaf)
    ):
        raise ManifestTampered(
            "the checkpoint of a manifest does not belong to a launch of its cell",
            where=where,
            expected="the checkpoint directly after a `launched` leaf that lists the cell",
            found=before.short,
            fix=_RESTORE,
        )
    return leaf


def check_code(state: GateState) -> None:
    """All cells were computed by the launched code, and all launches of the attempt have the same code."""
    for stored in state.stored.values():
        leaf = state.launch_of[stored.folder.name]
        if stored.manifest.code_digest != leaf.code:
            _object_to_code(state, stored.folder.name, leaf.code, stored.manifest.code_digest)
    launches = [leaf for leaf in state.attempts.launches if leaf.attempt == state.attempt]
    for earlier, later in pairwise(launches):
        if earlier.code != later.code and not later.deviation:
            _object_to_code(state, f"{state.root.ledger}, line {later.seq + 1}", earlier.code, later.code)


def _object_to_code(state: GateState, where: str, expected: str, found: str) -> None:
    state.objections.append(
        CodeChanged(
            "cells were computed by code other than the launched code, and no deviation was declared",
            where=where,
            expected=expected,
            found=found,
            fix=f"run a new attempt with the same code for all cells: vjepa-stress run {state.study} --again",
        )
    )


def check_columns(state: GateState) -> None:
    """Every shard has the columns of the design."""
    schema = shard_schema(state.design)
    for stored in state.stored.values():
        if not stored.table.schema.equals(schema):
            raise ShardTampered(
                "a shard does not have the columns of the design",
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
                    fix=f"run a new attempt: vjepa-stress run {state.study} --again",
                )
            )


def check_values(state: GateState) -> None:
    """No row is flagged as non-finite, and every value is in the range of its column."""
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
                    "a shard holds non-finite values, or values outside the range of their metric",
                    where=stored.folder,
                    expected="finite features, and values in the ranges of the metrics",
                    found=f"out of range: {', '.join(out_of_range)}" if out_of_range else "non-finite features",
                    fix=f"correct the cause, then run a new attempt: vjepa-stress run {state.study} --again",
                )
            )


def check_results(state: GateState) -> None:
    """Every verdict and report on the disk was logged with its current bytes."""
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
"""All checks of the gate, in order."""
