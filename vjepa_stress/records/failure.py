"""Failure records: cells that could not be computed at a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vjepa_stress.design import Cell
from vjepa_stress.digest import Digest, canonical_json, parse_json, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadDocument, ManifestTampered
from vjepa_stress.fields import Frozen, Text, Time
from vjepa_stress.prereg.schema import validate


class RunFailure(Frozen):
    """Cells that could not be computed at one unit. The record is kept when they are computed later."""

    schema_: Literal["vjepa-stress/failure/v3"] = Field(alias="schema")
    prereg_digest: Digest
    attempt: int = Field(ge=1)
    unit: str = Field(description="key of the unit, such as the digest of a clip")
    unit_name: Text
    cells: tuple[Cell, ...] = Field(min_length=1)
    error: Text
    message: str
    at: Time
    host: Text


def failures(attempt: Path) -> list[RunFailure]:
    """All failures of an attempt, oldest first.

    Raises:
        ManifestTampered: when one of the files is not a valid failure record.
    """
    records = []
    for path in sorted((attempt / "failures").glob("*.json")):
        try:
            records.append(validate(RunFailure, parse_json(path.read_bytes(), path), path))
        except (OSError, BadDocument) as error:
            raise ManifestTampered(
                "a failure record is invalid",
                where=path,
                found=str(error),
                fix="restore the attempt from a copy",
            ) from error
    return sorted(records, key=lambda failure: failure.at)


def write_failure(attempt: Path, failure: RunFailure) -> None:
    """Write the record of cells that could not be computed at a unit."""
    data: dict[str, Any] = failure.model_dump(mode="json", by_alias=True)
    content = canonical_json(data)
    stamp = failure.at.replace(":", "").replace(".", "")
    write_durably(attempt / "failures" / f"{stamp}-{sha256(content).short}.json", content)
