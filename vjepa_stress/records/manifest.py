"""Manifests: what a shard is bound to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vjepa_stress.design import Cell
from vjepa_stress.digest import Digest
from vjepa_stress.fields import Frozen, Text, Time


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
