"""Manifests: digests and versions that a shard is bound to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vjepa_stress.design import Cell
from vjepa_stress.digest import Digest
from vjepa_stress.fields import Frozen, Text, Time


class CheckpointRecord(Frozen):
    """Size and root of a ledger, in a manifest or verdict."""

    size: int = Field(ge=0)
    root: Digest


class Worker(Frozen):
    """Where rows were computed, and with which settings and packages. None of them is registered."""

    host: Text
    device: Text
    threads: int = Field(ge=1)
    batch: int = Field(ge=1, description="cells encoded together; on a GPU, it can change results by up to 1e-5")
    packages: dict[str, str]


class Manifest(Frozen):
    """Digests, versions and times that one shard is bound to."""

    schema_: Literal["vjepa-stress/manifest/v3"] = Field(alias="schema")
    prereg_digest: Digest
    ledger_checkpoint: CheckpointRecord = Field(description="of the ledger whose last leaf is the launch")
    attempt: int = Field(ge=1)
    cell: Cell
    shard_digest: Digest
    content_digest: Digest
    rows: int = Field(ge=0)
    config_digest: Digest = Field(description="digest of all registered settings that the numbers depend on")
    identities: dict[str, Digest] = Field(description="digests of what was loaded, such as weights, by kind")
    units: tuple[str, ...] = Field(
        description="keys of the measured units, in order; those of clips are computed from the decoded bytes"
    )
    settings: dict[str, str] = Field(description="registered settings that were used, such as the number format")
    code_digest: Digest
    code_dirty: bool
    workers: tuple[Worker, ...] = Field(min_length=1, description="where its rows were computed")
    started: Time
    finished: Time
    seconds: dict[str, float] = Field(description="seconds of each stage, summed over the units")
