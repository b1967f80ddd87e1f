"""Cells on the disk: a shard and its manifest in one folder. They are written together and verified when read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vjepa_stress.digest import Digest, canonical_json, parse_json, sha256
from vjepa_stress.disk import sync_folder, write_durably, writing
from vjepa_stress.errors import BadDocument, ManifestTampered, ShardTampered
from vjepa_stress.ledger.tree import merkle_root
from vjepa_stress.prereg.schema import validate
from vjepa_stress.records.manifest import Manifest
from vjepa_stress.records.shard import content_digest, read_shard


@dataclass(frozen=True)
class StoredCell:
    """A stored cell with verified digests.

    Attributes:
        folder: folder of the cell.
        manifest: its manifest.
        manifest_digest: digest of the bytes of the manifest.
        table: its shard.
    """

    folder: Path
    manifest: Manifest
    manifest_digest: Digest
    table: pa.Table


def write_cell(folder: Path, shard: bytes, manifest: Manifest) -> None:
    """Write a shard and its manifest atomically: both or neither.

    Raises:
        CannotWrite, MachineFailure: when they cannot be written; no partial files remain.
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


_AGAIN = "restore the cell from a copy; or move its folder away and run again, which the ledger logs"


def read_cell(folder: Path) -> StoredCell:
    """Read a cell and verify both digests of its shard.

    Raises:
        ManifestTampered: when the manifest is missing, invalid or not canonical JSON.
        ShardTampered: when the shard is missing or differs from its manifest.
    """
    path = folder / "manifest.json"
    try:
        data = path.read_bytes()
        value = parse_json(data, path)
        manifest = validate(Manifest, value, path)
        if canonical_json(value) != data:
            raise BadDocument("the manifest is not canonical JSON", where=path)
    except (OSError, BadDocument) as error:
        raise ManifestTampered(
            "the manifest of a cell is missing or invalid", where=path, found=str(error), fix=_AGAIN
        ) from error
    shard = folder / "shard.parquet"
    content = shard.read_bytes() if shard.is_file() else None
    if content is None or sha256(content) != manifest.shard_digest:
        raise ShardTampered(
            "a shard does not have the digest of its manifest",
            where=shard,
            expected=manifest.shard_digest,
            found="no such file" if content is None else sha256(content),
            fix=_AGAIN,
        )
    try:
        table = read_shard(content)
        rows = table.to_pylist()
        found = content_digest(rows)
    except (pa.ArrowException, OSError, ValueError, KeyError, BadDocument) as error:
        # Such a shard was never written: it is not a table, has no units, or has numbers without a content digest.
        raise ShardTampered(
            "a shard is not a Parquet table of units with finite numbers",
            where=shard,
            expected=f"{manifest.rows} rows, {manifest.content_digest}",
            found=f"{type(error).__name__}: {error}",
            fix=_AGAIN,
        ) from error
    if len(rows) != manifest.rows or found != manifest.content_digest:
        raise ShardTampered(
            "the content of a shard does not match its manifest",
            where=shard,
            expected=f"{manifest.rows} rows, {manifest.content_digest}",
            found=f"{len(rows)} rows, {found}",
            fix=_AGAIN,
        )
    return StoredCell(folder, manifest, sha256(data), table)


def cell_folders(attempt: Path) -> Iterator[Path]:
    """Folders of finished cells, sorted by name. Names of unfinished cells start with a dot."""
    cells = attempt / "cells"
    if cells.is_dir():
        yield from sorted(p for p in cells.iterdir() if p.is_dir() and not p.name.startswith("."))


def manifests_root(cells: list[StoredCell]) -> Digest:
    """Merkle root over the manifests of an attempt, sorted by the folder names of their cells."""
    ordered = sorted(cells, key=lambda cell: cell.folder.name)
    return merkle_root(cell.manifest_digest.encode() for cell in ordered)
