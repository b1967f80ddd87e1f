"""What runs leave behind: clip manifests, shards with their manifests, failures. Also where cells live on disk."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from vjepa_stress.blocks import ClipRef
from vjepa_stress.columns import ColumnKind
from vjepa_stress.design import Cell, Design
from vjepa_stress.digest import Digest, canonical_json, digest_of, parse_json, sha256
from vjepa_stress.disk import sync_folder, write_durably, writing
from vjepa_stress.errors import BadDocument, LedgerTampered, ManifestTampered, ShardTampered
from vjepa_stress.fields import Frozen, Level, Text, Time
from vjepa_stress.ledger import Completed, Launched
from vjepa_stress.ledger.tree import merkle_root
from vjepa_stress.prereg.clips import verified
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.prereg.lineage import Edition
from vjepa_stress.prereg.schema import validate

Entry = str | float | int | bool | list[int] | list[float] | None
"""One value of a shard."""

Row = dict[str, Entry]
"""One clip of a shard."""

_ARROW: dict[ColumnKind, tuple[pa.DataType, bool]] = {
    "unit": (pa.string(), False),
    "value": (pa.float64(), True),
    "count": (pa.int64(), False),
    "integers": (pa.list_(pa.int64()), True),
    "values": (pa.list_(pa.float64()), True),
    "flag": (pa.bool_(), False),
}
"""Arrow type of each kind of column, and whether it may be null."""


class ClipManifest(Frozen):
    """The clips a data set stands for in a study."""

    schema_: Literal["vjepa-stress/clips/v1"] = Field(alias="schema")
    dataset: Text
    clips: tuple[ClipRef, ...] = Field(min_length=1)

    def to_bytes(self) -> bytes:
        """Canonical bytes; the digest of these stands in preregistrations and `launched` leaves."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


def read_clips(path: Path, digest: str) -> ClipManifest:
    """Read a clip manifest, once its bytes are verified.

    Raises:
        IdentityChanged: when it is missing or another one.
    """
    return validate(ClipManifest, parse_json(verified(path, digest), path), path)


class CheckpointRecord(Frozen):
    """A ledger's size and root, as a manifest carries it."""

    size: int = Field(ge=0)
    root: Digest


class Manifest(Frozen):
    """What one shard is bound to."""

    schema_: Literal["vjepa-stress/manifest/v2"] = Field(alias="schema")
    prereg_digest: Digest
    ledger_checkpoint: CheckpointRecord = Field(description="just after the `launched` leaf")
    attempt: int = Field(ge=1)
    cell: Cell
    shard_digest: Digest
    content_digest: Digest
    rows: int = Field(ge=0)
    config_digest: Digest = Field(description="over everything registered that this cell's numbers depend on")
    identities: dict[str, Digest] = Field(description="of what was loaded, such as weights, by kind")
    units: tuple[str, ...] = Field(
        description="keys of the units measured, in order; of clips, from the bytes decoded"
    )
    settings: dict[str, str] = Field(description="registered settings, such as the number format, as they were used")
    code_digest: Digest
    code_dirty: bool
    packages: dict[str, str]
    device: Text
    threads: int = Field(ge=1)
    started: Time
    finished: Time
    seconds: dict[str, float]
    host: Text


class RunFailure(Frozen):
    """A cell that crashed; it stays beside the cell's later shard."""

    schema_: Literal["vjepa-stress/failure/v2"] = Field(alias="schema")
    prereg_digest: Digest
    attempt: int = Field(ge=1)
    cell: Cell
    error: Text
    message: str
    at: Time
    host: Text


def cell_id(prereg: Digest, cell: Cell) -> str:
    """Folder name of a cell: readable, and bound by digest to the cell and the document it comes from."""
    levels = [
        "none" if level is None else _NOT_IN_NAMES.sub("_", f"{level}"[:40]) for level in map(_text, cell.values())
    ]
    key = digest_of({"prereg": prereg, "cell": dict(cell)})
    return "-".join([*levels, key.short])


_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+")


def _text(level: Level | None) -> str | None:
    return f"{level:g}" if isinstance(level, float) else level


def cell_names(lineage: Sequence[Edition]) -> dict[Digest, dict[str, Cell]]:
    """Folder names of the cells of each document of a study.

    A cell is named after the first document in which it is what it is: one that an amendment leaves as it was keeps
    its folder, one that an amendment changes gets another.
    """
    numbers = [_identities([edition.document.design for edition in lineage], kind) for kind in _kinds(lineage)]
    homes: dict[tuple[Any, ...], Digest] = {}
    names: dict[Digest, dict[str, Cell]] = {}
    for edition, *numbered in zip(lineage, *numbers, strict=True):
        design = edition.document.design
        mine = names.setdefault(edition.digest, {})
        for cell in design.cells:
            bound = design.bound_to(cell)
            key = (
                design.config_digest(cell),
                *(of.get(bound.get(k, "")) for k, of in zip(_kinds(lineage), numbered, strict=True)),
            )
            mine[cell_id(homes.setdefault(key, edition.digest), cell)] = cell
    return names


def _kinds(lineage: Sequence[Edition]) -> list[str]:
    """The kinds of identity that a study's launches bind."""
    return sorted({kind for edition in lineage for kind in edition.document.design.identities})


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


def shard_schema(design: Design) -> pa.Schema:
    """Arrow schema of a shard."""
    return pa.schema([pa.field(column.name, *_ARROW[column.kind]) for column in design.layout])


def content_digest(rows: list[Row]) -> Digest:
    """Digest of a shard's content: units, metrics, counts; not times, not the file's encoding, not row order."""
    return digest_of(sorted(rows, key=canonical_json))


def shard_bytes(rows: list[Row], schema: pa.Schema) -> bytes:
    """Encode rows as Parquet, sorted by unit, the first column."""
    ordered = sorted(rows, key=lambda row: str(row[schema.names[0]]))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ordered, schema=schema), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_shard(data: bytes) -> pa.Table:
    """Decode Parquet in this thread.

    A worker thread of Arrow may release what it read after the interpreter has ended. If that is memory of a Python
    object, the process aborts (SIGABRT) and its exit code is lost. So no worker takes part (neither to decode, nor to
    read ahead), and Arrow reads from a copy of its own.

    Raises:
        pa.ArrowException, OSError: when the bytes are not Parquet.
    """
    sink = pa.BufferOutputStream()
    sink.write(data)
    return pq.ParquetFile(pa.BufferReader(sink.getvalue()), pre_buffer=False).read(use_threads=False)


@dataclass(frozen=True)
class StoredCell:
    """A cell as it lies on the disk, its digests verified.

    Attributes:
        folder: where it lies.
        manifest: what it is bound to.
        manifest_digest: digest of the manifest's bytes.
        table: the shard.
    """

    folder: Path
    manifest: Manifest
    manifest_digest: Digest
    table: pa.Table


def write_cell(folder: Path, shard: bytes, manifest: Manifest) -> None:
    """Put a shard and its manifest in place together: both or neither.

    Raises:
        CannotWrite, MachineFailure: when the disk does not take them; nothing is left behind.
    """
    temporary = folder.with_name(f".tmp-{folder.name}")
    with writing(folder):
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            write_durably(temporary / "shard.parquet", shard)
            write_durably(
                temporary / "manifest.json", canonical_json(manifest.model_dump(mode="json", by_alias=True))
            )
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder.parent)


_AGAIN = "restore the cell from a copy; or move its folder away and run again, which the ledger will show"


def read_cell(folder: Path) -> StoredCell:
    """Read a cell and verify both digests of its shard.

    Raises:
        ManifestTampered: when the manifest is missing or no canonical manifest.
        ShardTampered: when the shard is missing or differs from its manifest.
    """
    path = folder / "manifest.json"
    try:
        data = path.read_bytes()
        value = parse_json(data, path)
        manifest = validate(Manifest, value, path)
        if canonical_json(value) != data:
            raise BadDocument("a manifest must be canonical JSON", where=path)
    except (OSError, BadDocument) as error:
        raise ManifestTampered(
            "a cell's manifest cannot be trusted", where=path, found=str(error), todo=_AGAIN
        ) from error
    shard = folder / "shard.parquet"
    content = shard.read_bytes() if shard.is_file() else None
    if content is None or sha256(content) != manifest.shard_digest:
        raise ShardTampered(
            "a shard is not the one its manifest describes",
            where=shard,
            expected=manifest.shard_digest,
            found="no such file" if content is None else sha256(content),
            todo=_AGAIN,
        )
    try:
        table = read_shard(content)
        rows = table.to_pylist()
        found = content_digest(rows)
    except (pa.ArrowException, OSError, ValueError, KeyError, BadDocument) as error:
        # No shard was ever written like that: no table, no clips, or numbers that no content digest can cover.
        raise ShardTampered(
            "a shard is no table of clips with finite numbers",
            where=shard,
            expected=f"{manifest.rows} rows, {manifest.content_digest}",
            found=f"{type(error).__name__}: {error}",
            todo=_AGAIN,
        ) from error
    if len(rows) != manifest.rows or found != manifest.content_digest:
        raise ShardTampered(
            "a shard's content is not what its manifest says",
            where=shard,
            expected=f"{manifest.rows} rows, {manifest.content_digest}",
            found=f"{len(rows)} rows, {found}",
            todo=_AGAIN,
        )
    return StoredCell(folder, manifest, sha256(data), table)


def cell_folders(attempt: Path) -> Iterator[Path]:
    """Folders of finished cells, in order of their names; unfinished ones start with a dot."""
    cells = attempt / "cells"
    if cells.is_dir():
        yield from sorted(p for p in cells.iterdir() if p.is_dir() and not p.name.startswith("."))


def manifests_root(cells: list[StoredCell]) -> Digest:
    """Merkle root over the manifests of an attempt, in order of their cells' folder names."""
    ordered = sorted(cells, key=lambda cell: cell.folder.name)
    return merkle_root(cell.manifest_digest.encode() for cell in ordered)


@dataclass(frozen=True)
class Attempts:
    """What the ledger says of a study's attempts.

    Attributes:
        names: for each document of the study, folder names and cells.
        current: those of the newest document.
        launches: launches of registered cells.
        completed: completions; an attempt has another one when an amendment added cells to it.
    """

    names: Mapping[Digest, Mapping[str, Cell]]
    current: Mapping[str, Cell]
    launches: tuple[Launched, ...]
    completed: tuple[Completed, ...]

    @classmethod
    def of(cls, registration: Registration) -> Attempts:
        """Read them from a study's leaves.

        Raises:
            LedgerTampered: when one of them is of no document of the study.
        """
        names = cell_names(registration.lineage)
        view, study = registration.ledger, registration.document.study
        launches, completed = view.of(study, Launched), view.of(study, Completed)
        for leaf in (*launches, *completed):
            if leaf.document not in names:
                raise LedgerTampered(
                    "a line of the ledger names no document of its study",
                    where=f"line {leaf.seq + 1}",
                    expected=" or ".join(names),
                    found=leaf.document,
                )
        return cls(names, names[registration.digest], launches, completed)

    @property
    def former(self) -> dict[str, Cell]:
        """Cells that earlier documents name and the newest does not."""
        known = {name: cell for cells in self.names.values() for name, cell in cells.items()}
        return {name: cell for name, cell in known.items() if name not in self.current}

    @property
    def last(self) -> int:
        """The last attempt; 0 when there is none."""
        return max((leaf.attempt for leaf in self.launches), default=0)

    @property
    def counted(self) -> int | None:
        """The attempt that counts: the first that was ever complete, whatever came after it."""
        return min((leaf.attempt for leaf in self.completed), default=None)

    @property
    def under_way(self) -> int:
        """The attempt to work on: the one that counts, unless a later one was begun and never completed."""
        done = {leaf.attempt for leaf in self.completed}
        if self.counted is not None and (not self.covered(self.counted) or self.last in done):
            return self.counted
        return max(self.last, 1)

    def completions(self, attempt: int) -> list[Completed]:
        """Completions of one attempt."""
        return [leaf for leaf in self.completed if leaf.attempt == attempt]

    def cells_of(self, leaf: Launched | Completed) -> Mapping[str, Cell]:
        """The cells that the document of a leaf registers."""
        return self.names[leaf.document]

    def covered(self, attempt: int) -> bool:
        """Whether the attempt was completed with every cell of the newest document."""
        return any(self.current.keys() <= self.cells_of(leaf).keys() for leaf in self.completions(attempt))

    def check_root(self, completion: Completed, stored: Mapping[str, StoredCell], where: object) -> None:
        """Compare the manifests of a completed attempt with the root that the ledger holds.

        Raises:
            ManifestTampered: when they have changed.
        """
        found = manifests_root([stored[name] for name in self.cells_of(completion) if name in stored])
        if completion.root != found:
            raise ManifestTampered(
                "the manifests are not those of the completed attempt",
                where=where,
                expected=completion.root,
                found=found,
                todo="restore the attempt from a copy",
            )


def number_or_null(value: float) -> float | None:
    """NaN and infinities become null; a shard's flag says whether that hides a non-finite value."""
    return value if math.isfinite(value) else None


def failures(attempt: Path) -> list[RunFailure]:
    """All failures of an attempt, oldest first.

    Raises:
        ManifestTampered: when one of the files is no record of a failure.
    """
    found = []
    for path in sorted((attempt / "failures").glob("*.json")):
        try:
            found.append(validate(RunFailure, parse_json(path.read_bytes(), path), path))
        except (OSError, BadDocument) as error:
            raise ManifestTampered(
                "a failure's record cannot be trusted",
                where=path,
                found=str(error),
                todo="restore the attempt from a copy",
            ) from error
    return sorted(found, key=lambda failure: failure.at)


def write_failure(attempt: Path, failure: RunFailure) -> None:
    """Leave a record of a cell that crashed."""
    data: dict[str, Any] = failure.model_dump(mode="json", by_alias=True)
    name = cell_id(failure.prereg_digest, failure.cell)
    stamp = failure.at.replace(":", "").replace(".", "")
    write_durably(attempt / "failures" / f"{name}-{stamp}.json", canonical_json(data))
