"""What must hold before anything is evaluated.

The checks run in a fixed order, each with an error class of its own. Tampering ends at once (exit code 3). What
merely stops an evaluation (11) is collected, so that tampering found later still comes first, and so that
`--exploratory` can look all the same. Nothing is skipped because it is missing, and nothing here writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from vjepa_stress import ledger
from vjepa_stress.digest import Digest
from vjepa_stress.errors import (
    CellsIncomplete,
    CodeChanged,
    DuplicateIdentifier,
    FlaggedValues,
    LedgerTampered,
    ManifestTampered,
    NotEvaluable,
    RowsMissing,
    RunBeforeRegistration,
    ShardTampered,
)
from vjepa_stress.ledger import Checkpoint, Execution, Explored, Launched, Registered, Viewed, Withdrawn
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Cell
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.prereg.lineage import changes, check_claims
from vjepa_stress.prereg.traces import check_shown
from vjepa_stress.records import (
    Attempts,
    StoredCell,
    cell_folders,
    cell_names,
    config_digest,
    failures,
    read_cell,
    read_clips,
    region_columns,
    shard_schema,
)
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.table import Table


class Deviation(BaseModel):
    """Something done that the registration did not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    what: str


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict may rest on, verified.

    Attributes:
        registration: the frozen promise, and those before it.
        attempt: the attempt that counts.
        cells: its cells.
        table: their shards.
        deviations: what was done beside the promise.
        checkpoint: the ledger at this study's last leaf that is no look.
        objections: what stops an evaluation; empty unless exploratory.
    """

    registration: Registration
    attempt: int
    cells: Mapping[Cell, StoredCell]
    table: Table
    deviations: tuple[Deviation, ...]
    checkpoint: Checkpoint
    objections: tuple[NotEvaluable, ...]


def gate(root: StudyRoot, study: str, *, exploratory: bool = False, as_of: int | None = None) -> Evidence:
    """Check everything and collect the evidence.

    Args:
        exploratory: go on in spite of what stops an evaluation. Tampering is never passed over.
        as_of: judge by the ledger's first so many leaves, as somebody did who looked then.

    Raises:
        Tampered: when something fixed has changed.
        NotEvaluable: when the evidence is intact but incomplete or invalid.
    """
    full = ledger.read(root)
    view = full if as_of is None else full.first(as_of)
    registration = freeze.load(root, study, view)
    _check_identifiers(registration)
    check = _Gate(root, registration)
    if as_of is not None:
        # Cells that a later amendment added lie beside those that were judged then.
        later = cell_names(freeze.load(root, study, full).lineage).values()
        check.ignored |= {name for cells in later for name in cells} - check.attempts.current.keys()
    check.order()
    check.cells_present()
    check.manifests()
    check.code()
    check.values()
    check_shown(root.outputs(study, registration.root_digest), full, study)
    if check.objections and not exploratory:
        raise check.objections[0]
    document = registration.document
    excluded = frozenset(exclusion.clip for exclusion in document.analysis.exclusions)
    shards = {cell: stored.table for cell, stored in check.stored.items()}
    last = max(leaf.seq for leaf in view.of(study) if not isinstance(leaf, Viewed))
    return Evidence(
        registration,
        check.attempt,
        check.stored,
        Table.of(shards, tuple(document.design.columns), excluded),
        tuple(check.deviations()),
        view.checkpoint(last + 1),
        tuple(check.objections),
    )


def _check_identifiers(registration: Registration) -> None:
    counts = Counter(hypothesis.id for hypothesis in registration.document.hypotheses)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DuplicateIdentifier("a hypothesis id stands for two claims", found=", ".join(twice))
    documents = [edition.document for edition in registration.lineage]
    for number, document in enumerate(documents):
        check_claims(documents[:number], document)


class _Gate:
    """The checks that need the attempt; `objections` collects what stops an evaluation."""

    def __init__(self, root: StudyRoot, registration: Registration) -> None:
        self.root, self.registration = root, registration
        self.design = registration.document.design
        self.leaves = registration.ledger.of(registration.document.study)
        self.launches = [leaf for leaf in self.leaves if isinstance(leaf, Execution)]
        self.attempts = Attempts.of(registration)
        self.registered_runs = self.attempts.launches
        self.attempt = self.attempts.counted or max(self.attempts.last, 1)
        self.folder = root.attempt(registration.document.study, registration.root_digest, self.attempt)
        self.objections: list[NotEvaluable] = []
        self.stored: dict[Cell, StoredCell] = {}
        self.launch_of: dict[str, Launched] = {}
        self.former: dict[str, Cell] = {}
        self.ignored: set[str] = set(self.attempts.former)

    def order(self) -> None:
        """Registration precedes every launch, and an amendment every launch under it."""
        for leaf in self.launches:
            promised = (self.registration.edition(leaf.document) or self.registration.lineage[0]).leaf
            if leaf.seq > promised.seq:
                continue
            self.objections.append(
                RunBeforeRegistration(
                    "a run was launched before the study was registered"
                    if isinstance(promised, Registered)
                    else "a run was launched before the amendment it was made under",
                    where=f"{self.root.ledger}, line {leaf.seq + 1}",
                    expected=f"after line {promised.seq + 1}",
                    todo="such a study cannot be judged; register a new one and run it",
                )
            )

    def cells_present(self) -> None:
        """Cells present are the cells registered, exactly; each shard holds, and so does their root."""
        expected, former = self.attempts.current, self.attempts.former
        present = {path.name: path for path in cell_folders(self.folder)}
        missing, extra = sorted(set(expected) - set(present)), sorted(set(present) - set(expected) - self.ignored)
        found: dict[str, StoredCell] = {}
        for name, cell in sorted({**expected, **former}.items()):
            if name not in present:
                continue
            found[name] = stored = read_cell(present[name])
            if stored.manifest.cell != cell:
                raise ManifestTampered(
                    "a cell lies in the folder of another",
                    where=stored.folder,
                    expected=cell,
                    found=stored.manifest.cell,
                    todo="restore the attempt from a copy",
                )
        self.stored = {expected[name]: stored for name, stored in found.items() if name in expected}
        self.former = {name: cell for name, cell in former.items() if name in found}
        if missing or extra:
            self.objections.append(
                CellsIncomplete(
                    "the cells present are not exactly the cells registered",
                    where=self.folder,
                    expected=f"{len(expected)} cells",
                    found=f"{len(missing)} missing {missing[:3]}, {len(extra)} not registered {extra[:3]}",
                    todo=f"vjepa-stress run study={self.registration.document.study} -m computes what is missing",
                )
            )
        elif not self.attempts.covered(self.attempt):
            self.objections.append(
                CellsIncomplete(
                    "the attempt has all its cells but was never completed in the ledger",
                    where=self.folder,
                    todo=f"vjepa-stress run study={self.registration.document.study} -m completes it",
                )
            )
        for leaf in self.attempts.completions(self.attempt):
            gone = sorted(self.attempts.cells_of(leaf).keys() - found.keys())
            if not gone:
                self.attempts.check_root(leaf, found, self.folder)
            elif not missing:
                self.objections.append(
                    CellsIncomplete(
                        "cells that an amendment took out of the design are gone; they are evidence all the same",
                        where=self.folder,
                        expected=f"the cells completed in line {leaf.seq + 1} of the ledger",
                        found=f"{len(gone)} missing {gone[:3]}",
                        todo="restore the attempt from a copy",
                    )
                )

    def manifests(self) -> None:
        """Every manifest names this lineage, and what its launch named, which is what was registered."""
        clips: dict[str | None, tuple[Digest, ...]] = {
            digest: self._clips(name, digest) for name, digest in self._launched_clips()
        }
        for stored in self.stored.values():
            leaf = self.launch_of[stored.folder.name] = self._launch_of(stored)
            manifest, cell = stored.manifest, stored.manifest.cell
            pinned = self.design.models[cell.model].weights_digest
            listed = self.design.datasets[cell.dataset].clip_manifest_digest
            launched = leaf.bound("clips").get(cell.dataset)
            for what, expected, found in (
                ("preregistration", leaf.document, manifest.prereg_digest),
                ("attempt", self.attempt, manifest.attempt),
                ("weights", leaf.bound("weights").get(cell.model), manifest.weights_digest),
                ("weights", pinned or manifest.weights_digest, manifest.weights_digest),
                ("clip manifest", listed or launched, launched),
                ("clips", clips.get(launched), manifest.clip_digests),
                ("specifications", config_digest(self.design, cell), manifest.config_digest),
                ("number format", self.design.numerics.dtype, manifest.dtype),
            ):  # fmt: skip
                if expected != found:
                    raise ManifestTampered(
                        f"a manifest names another {what}",
                        where=stored.folder / "manifest.json",
                        expected=expected,
                        found=found,
                        todo="restore the attempt from a copy",
                    )

    def _launched_clips(self) -> set[tuple[str, Digest]]:
        pairs = {pair for leaf in self.registered_runs for pair in leaf.bound("clips").items()}
        used = {cell.dataset for cell in self.stored}
        return {(name, digest) for name, digest in pairs if name in used}

    def _clips(self, dataset: str, digest: Digest) -> tuple[Digest, ...]:
        path = self.root.clips(self.registration.document.study, dataset, digest)
        return tuple(clip.digest for clip in read_clips(path, digest).clips)

    def _launch_of(self, stored: StoredCell) -> Launched:
        seen = Checkpoint(stored.manifest.ledger_checkpoint.size, stored.manifest.ledger_checkpoint.root)
        if not self.registration.ledger.contains(seen):
            raise LedgerTampered(
                "a manifest saw a ledger that this one is no continuation of",
                where=stored.folder / "manifest.json",
                expected=seen.short,
                found=self.registration.ledger.checkpoint().short,
                todo="the ledger was cut or rewritten: restore it from a copy",
            )
        leaf = self.registration.ledger.leaves[seen.size - 1] if seen.size else None
        # The document that the launch was made under must have had this very cell.
        if (
            not isinstance(leaf, Launched)
            or leaf not in self.registered_runs
            or stored.folder.name not in leaf.cells
            or stored.folder.name not in self.attempts.cells_of(leaf)
        ):
            raise ManifestTampered(
                "a manifest names no launch of its cell",
                where=stored.folder / "manifest.json",
                expected="the checkpoint just after a `launched` leaf that lists the cell",
                found=seen.short,
                todo="restore the attempt from a copy",
            )
        return leaf

    def code(self) -> None:
        """All cells were computed by the launched code, and all launches of the attempt by one code."""
        for stored in self.stored.values():
            leaf = self.launch_of[stored.folder.name]
            if stored.manifest.code_digest != leaf.code:
                self._object_to_code(f"{stored.folder.name}", leaf.code, stored.manifest.code_digest)
        mine = [leaf for leaf in self.registered_runs if leaf.attempt == self.attempt]
        for earlier, later in pairwise(mine):
            if earlier.code != later.code and not later.deviation:
                where = f"{self.root.ledger}, line {later.seq + 1}"
                self._object_to_code(where, earlier.code, later.code)

    def _object_to_code(self, where: str, expected: str, found: str) -> None:
        self.objections.append(
            CodeChanged(
                "cells were computed by other code than launched, and no deviation says why",
                where=where,
                expected=expected,
                found=found,
                todo="make another attempt with one code: run --again",
            )
        )

    def values(self) -> None:
        """No flag is set, every value is in its metric's range, and every shard has the registered clips."""
        schema = shard_schema(tuple(self.design.columns), region_columns(self.design))
        for cell, stored in self.stored.items():
            if not stored.table.schema.equals(schema):
                raise ShardTampered(
                    "a shard has other columns than its metrics fill", where=stored.folder, expected=schema.names
                )
            self._check_rows(cell, stored)
            columns = self.design.columns
            out_of_range = [
                name
                for name, metric in columns.items()
                for value in stored.table[name].drop_null().to_pylist()
                if not metric.range[0] <= value <= metric.range[1]
            ]
            if any(stored.table["non_finite"].to_pylist()) or out_of_range:
                self.objections.append(
                    FlaggedValues(
                        "a shard holds values that no metric can have",
                        where=stored.folder,
                        expected="finite features, values in the metrics' ranges",
                        found=f"out of range: {sorted(set(out_of_range))}" if out_of_range else "non-finite features",
                        todo="find out why; a repaired run is another attempt: run --again",
                    )
                )

    def _check_rows(self, cell: Cell, stored: StoredCell) -> None:
        names, expected = stored.table["clip"].to_pylist(), self.design.datasets[cell.dataset].n_clips
        known = len(set(names) & set(stored.manifest.clip_digests))
        if len(names) != expected or Counter(names) != Counter(stored.manifest.clip_digests):
            self.objections.append(
                RowsMissing(
                    "a shard does not have one row for each registered clip",
                    where=stored.folder,
                    expected=f"{expected} clips",
                    found=f"{len(names)} rows, {known} of them registered",
                    todo="make another attempt: run --again",
                )
            )

    def deviations(self) -> list[Deviation]:
        """What was done beside the promise: changes of the promise first, then each in the order it happened."""
        found = self._amendments()
        if self.former:
            named = ", ".join(str(cell) for cell in sorted(self.former.values(), key=Cell.order)[:5])
            what = f"{len(self.former)} cells computed under an earlier version are not judged: {named}"
            found.append(Deviation(kind="cells out of the design", what=what))
        for leaf in self.launches:
            line = f"launch at {leaf.at} (ledger line {leaf.seq + 1})"
            if isinstance(leaf, Explored):
                found.append(Deviation(kind="exploratory run", what=f"{line}: cells beside the design were computed"))
                continue
            if leaf.dirty:
                found.append(Deviation(kind="uncommitted code", what=f"{line}: code {leaf.code}"))
            if isinstance(leaf, Launched) and leaf.deviation:
                found.append(Deviation(kind="changed code", what=f"{line}: {leaf.deviation}"))
        for number in sorted({leaf.attempt for leaf in self.registered_runs} - {self.attempt}):
            state = "complete" if self.attempts.covered(number) else "incomplete"
            found.append(Deviation(kind="other attempt", what=f"attempt {number}, {state}, is not judged"))
        for failure in failures(self.folder):
            if failure.prereg_digest not in self.attempts.names:
                continue  # of a later amendment than those judged here
            what = f"{failure.cell} failed at {failure.at}: {failure.message.splitlines()[0]}"
            found.append(Deviation(kind="failed cell", what=what))
        unpinned = [
            *(f"weights of {name}" for name, entry in self.design.models.items() if entry.weights_digest is None),
            *(
                f"clips of {name}"
                for name, entry in self.design.datasets.items()
                if entry.clip_manifest_digest is None
            ),
        ]
        found += [Deviation(kind="pinned late", what=f"{what}: pinned by the first launch") for what in unpinned]
        return found

    def _amendments(self) -> list[Deviation]:
        found = []
        for before, after in pairwise(self.registration.lineage):
            leaf, amendment = after.leaf, after.document.amendment
            assert amendment is not None  # noqa: S101  # it has a parent
            launches = sum(1 for one in self.launches if one.seq < leaf.seq)
            looks = sum(1 for one in self.leaves if isinstance(one, Viewed) and one.seq < leaf.seq)
            when = f"after {_times(launches, 'launch', 'launches')} and {_times(looks, 'look', 'looks')}"
            what = (
                f"{after.document.version} at {leaf.at} (ledger line {leaf.seq + 1}), {when}; data status "
                f"{after.document.data_status}; {amendment.reason}: {amendment.changes} "
                f"Changed: {'; '.join(changes(before.document, after.document)) or 'nothing but the record'}. "
                f"Severity: {amendment.severity} Validity: {amendment.validity}"
            )
            kind = "withdrawal" if isinstance(leaf, Withdrawn) else "amendment"
            found.append(Deviation(kind=kind, what=what))
        return found


def _times(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
