"""Records of runs: clip manifests, shards, manifests, cells, failures, attempts; one module each."""

from vjepa_stress.records.attempts import Attempts
from vjepa_stress.records.cell import StoredCell, cell_folders, manifests_root, read_cell, write_cell
from vjepa_stress.records.clips import ClipManifest, read_clips
from vjepa_stress.records.failure import RunFailure, failures, write_failure
from vjepa_stress.records.manifest import CheckpointRecord, Manifest
from vjepa_stress.records.names import cell_id, cell_names
from vjepa_stress.records.shard import (
    Entry,
    Row,
    content_digest,
    number_or_null,
    read_shard,
    shard_bytes,
    shard_schema,
)

__all__ = [
    "Attempts",
    "CheckpointRecord",
    "ClipManifest",
    "Entry",
    "Manifest",
    "Row",
    "RunFailure",
    "StoredCell",
    "cell_folders",
    "cell_id",
    "cell_names",
    "content_digest",
    "failures",
    "manifests_root",
    "number_or_null",
    "read_cell",
    "read_clips",
    "read_shard",
    "shard_bytes",
    "shard_schema",
    "write_cell",
    "write_failure",
]
