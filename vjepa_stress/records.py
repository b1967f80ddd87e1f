"""What runs leave behind: clip manifests, shards with their manifests, failures. Also where cells live on disk."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from vjepa_stress.digest import (
    Digest,
    canonical_json,
    digest_of,
    parse_json,
    sha256,
    sync_folder,
    write_durably,
)
from vjepa_stress.errors import BadDocument, ManifestTampered, ShardTampered, writing
from vjepa_stress.prereg.document import Cell, Text, Time, VideoDesign
from vjepa_stress.prereg.ledger import tree_root
from vjepa_stress.prereg.rules import Frozen
from vjepa_stress.prereg.schema import validate
from vjepa_stress.words import COUNTS

Row = dict[str, str | float | int | bool | None]
"""One clip of a shard."""


class ClipEntry(Frozen):
    """One clip of a data set; `digest` covers `source` and `frames`."""

    digest: Digest
    name: Text
    source: Digest
    frames: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    notes: tuple[Text, ...]


class ClipManifest(Frozen):
    """The clips a data set stands for in a study."""

    schema_: Literal["vjepa-stress/clips/v1"] = Field(alias="schema")
    dataset: Text
    clips: tuple[ClipEntry, ...] = Field(min_length=1)

    def to_bytes(self) -> bytes:
        """Canonical bytes; the digest of these stands in preregistrations and `launched` leaves."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


class CheckpointRecord(Frozen):
    """A ledger's size and root, as a manifest carries it."""

    size: int = Field(ge=0)
    root: Digest


class Manifest(Frozen):
    """What one shard is bound to."""

    schema_: Literal["vjepa-stress/manifest/v1"] = Field(alias="schema")
    prereg_digest: Digest
    ledger_checkpoint: CheckpointRecord = Field(description="just after the `launched` leaf")
    attempt: int = Field(ge=1)
    cell: Cell
    shard_digest: Digest
    content_digest: Digest
    rows: int = Field(ge=0)
    config_digest: Digest = Field(description="over everything registered that this cell's numbers depend on")
    weights_digest: Digest = Field(description="of the weights loaded")
    clip_digests: tuple[Digest, ...] = Field(description="of the bytes decoded, in the order of the clip manifest")
    code_digest: Digest
    code_dirty: bool
    packages: dict[str, str]
    device: Text
    dtype: Text
    threads: int = Field(ge=1)
    started: Time
    finished: Time
    seconds: dict[str, float]
    host: Text


class RunFailure(Frozen):
    """A cell that crashed; it stays beside the cell's later shard."""

    schema_: Literal["vjepa-stress/failure/v1"] = Field(alias="schema")
    prereg_digest: Digest
    attempt: int = Field(ge=1)
    cell: Cell
    error: Text
    message: str
    at: Time
    host: Text


def cell_id(prereg: Digest, cell: Cell) -> str:
    """Folder name of a cell: readable, and bound by digest to the cell and the study."""
    strength = "probe" if cell.strength is None else f"{cell.strength:g}"
    key = digest_of({"prereg": prereg, "cell": cell.model_dump(mode="json")})
    return f"{cell.dataset}-{cell.model}-{cell.perturbation}-{strength}-{key.short}"


def config_digest(design: VideoDesign, cell: Cell) -> Digest:
    """Digest of everything registered that the numbers of a cell depend on."""
    return digest_of(
        {
            "cell": cell.model_dump(mode="json"),
            "dataset": design.datasets[cell.dataset].spec_digest,
            "model": design.models[cell.model].spec_digest,
            "perturbation": design.perturbations[cell.perturbation].spec_digest,
            "metrics": {name: entry.spec_digest for name, entry in design.metrics.items()},
            "seed": design.seed,
            "frames": design.frames,
            "resolution": design.resolution,
            "numerics": design.numerics.model_dump(mode="json"),
        }
    )


def shard_schema(columns: tuple[str, ...]) -> pa.Schema:
    """Arrow schema of a shard with these metric columns."""
    fields = [pa.field("clip", pa.string(), nullable=False)]
    for name in columns:
        fields.append(pa.field(name, pa.float64()))
        fields += [pa.field(f"{name}_{count}", pa.int64(), nullable=False) for count in COUNTS]
    fields.append(pa.field("non_finite", pa.bool_(), nullable=False))
    return pa.schema(fields)


def content_digest(rows: list[Row]) -> Digest:
    """Digest of a shard's content: clips, metrics, counts; not times, not the file's encoding, not row order."""
    return digest_of(sorted(rows, key=lambda row: str(row["clip"])))


def shard_bytes(rows: list[Row], columns: tuple[str, ...]) -> bytes:
    """Encode rows as Parquet, sorted by clip."""
    ordered = sorted(rows, key=lambda row: str(row["clip"]))
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ordered, schema=shard_schema(columns)), buffer, compression="zstd")
    return buffer.getvalue()


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
    table = pq.ParquetFile(io.BytesIO(content)).read()
    rows = table.to_pylist()
    if len(rows) != manifest.rows or content_digest(rows) != manifest.content_digest:
        raise ShardTampered(
            "a shard's content is not what its manifest says",
            where=shard,
            expected=f"{manifest.rows} rows, {manifest.content_digest}",
            found=f"{len(rows)} rows, {content_digest(rows)}",
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
    return tree_root([cell.manifest_digest.encode() for cell in ordered])


def number_or_null(value: float) -> float | None:
    """NaN and infinities become null; a shard's flag says whether that hides a non-finite value."""
    return value if math.isfinite(value) else None


def failures(attempt: Path) -> list[RunFailure]:
    """All failures of an attempt, oldest first."""
    found = [
        validate(RunFailure, parse_json(path.read_bytes(), path), path)
        for path in sorted((attempt / "failures").glob("*.json"))
    ]
    return sorted(found, key=lambda failure: failure.at)


def write_failure(attempt: Path, failure: RunFailure) -> None:
    """Leave a record of a cell that crashed."""
    data: dict[str, Any] = failure.model_dump(mode="json", by_alias=True)
    name = cell_id(failure.prereg_digest, failure.cell)
    stamp = failure.at.replace(":", "").replace(".", "")
    write_durably(attempt / "failures" / f"{name}-{stamp}.json", canonical_json(data))
