"""Failure records of cells that crashed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vjepa_stress.design import Cell
from vjepa_stress.digest import Digest, canonical_json, parse_json
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadDocument, ManifestTampered
from vjepa_stress.fields import Frozen, Text, Time
from vjepa_stress.prereg.schema import validate
from vjepa_stress.records.names import cell_id


class RunFailure(Frozen):
    """A cell that crashed. The record is kept when the cell is computed later."""

    schema_: Literal["vjepa-stress/failure/v2"] = Field(alias="schema")
    prereg_digest: Digest
    attempt: int = Field(ge=1)
    cell: Cell
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
    """Write the record of a cell that crashed."""
    data: dict[str, Any] = failure.model_dump(mode="json", by_alias=True)
    name = cell_id(failure.prereg_digest, failure.cell)
    stamp = failure.at.replace(":", "").replace(".", "")
    write_durably(attempt / "failures" / f"{name}-{stamp}.json", canonical_json(data))
