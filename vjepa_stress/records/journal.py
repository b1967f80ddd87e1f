"""The journal of an attempt: rows of clips whose cells are not complete yet.

One file holds the rows of one clip and one model, for many cells. It gets its final name only when it is whole and on
the disk, and it never changes afterwards. Its name says which clip it is, which launch (the number of its line in the
ledger) and which job. Its first line is the header; each further line holds the row of one cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from vjepa_stress.digest import LARGEST_INTEGER, Digest, canonical_json, digest_of, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.fields import Frozen, Time
from vjepa_stress.records.manifest import CheckpointRecord, Worker
from vjepa_stress.records.shard import Row

FOLDER = "journal"
"""Name of the journal's folder in the folder of an attempt."""


class Header(Frozen):
    """First line of a file of the journal."""

    schema_: Literal["vjepa-stress/journal/v1"] = Field(alias="schema")
    launch: CheckpointRecord = Field(description="checkpoint of the ledger whose last leaf is the launch")
    facts: Digest = Field(description="digest of what rows must have in common to belong to one cell")
    unit: str = Field(description="key of the unit, such as the digest of a clip")
    cells: tuple[str, ...] = Field(description="folder names of the cells, in the order of the lines")
    worker: Worker
    started: Time
    finished: Time
    content: Digest = Field(description="digest of the other fields and of the lines of the cells")


@dataclass(frozen=True)
class JournalFile:
    """A file of the journal with a valid header.

    Attributes:
        path: the file.
        header: its first line.
    """

    path: Path
    header: Header

    def lines(self) -> list[bytes] | None:
        """The lines of its cells, unparsed; None if the file is damaged."""
        try:
            first, _, body = self.path.read_bytes().partition(b"\n")
        except OSError:
            return None
        fields = self.header.model_dump(mode="json", by_alias=True)
        lines = body.splitlines()
        whole = first == canonical_json(fields) and self.header.content == _content(fields, body)
        return lines if whole and len(lines) == len(self.header.cells) else None


def _content(fields: Mapping[str, Any], body: bytes) -> Digest:
    others = {name: value for name, value in fields.items() if name != "content"}
    return sha256(canonical_json(others) + b"\n" + body)


def group_folder(attempt: Path, model: str, dataset: str, facts: Mapping[str, Any]) -> tuple[Path, Digest]:
    """Folder of the rows of one model and data set that may be combined, and the digest of their common facts."""
    digest = digest_of(facts)
    return attempt / FOLDER / f"{model}-{dataset}-{digest.short}", digest


def write_rows(
    folder: Path, header: Mapping[str, Any], job: str, rows: Sequence[tuple[Row, Mapping[str, float]]]
) -> Path:
    """Write the rows of one unit durably; they are there as a whole or not at all.

    Args:
        folder: folder of the group.
        header: fields of the header except `content`.
        job: name of the job that computed the rows; distinguishes jobs of one launch.
        rows: for each cell of the header, its row and the seconds of each stage.

    Raises:
        CannotWrite, MachineFailure: when the file cannot be written; no partial file remains.
    """
    body = b"".join(canonical_json({"row": row, "seconds": dict(seconds)}) + b"\n" for row, seconds in rows)
    first = Header(schema="vjepa-stress/journal/v1", content=sha256(b""), **header)
    fields = first.model_dump(mode="json", by_alias=True)
    fields["content"] = _content(fields, body)
    sequence = first.launch.size - 1
    path = folder / f"{Digest(first.unit).short}-{sequence}-{job}.jsonl"
    write_durably(path, canonical_json(fields) + b"\n" + body)
    return path


def read_row(line: bytes) -> tuple[Row, dict[str, float]]:
    """The row of one cell and the seconds of each stage."""
    value = json.loads(line, parse_int=_number)
    return value["row"], value["seconds"]


def _number(text: str) -> int | float:
    """A number without a fraction. Canonical JSON has no larger integers: such a number was a float."""
    value = int(text)
    return value if abs(value) <= LARGEST_INTEGER else float(text)


def journal_files(folder: Path, unit: str | None = None) -> Iterator[JournalFile]:
    """Files of a group, of all units or of one, in the order of their names; damaged files are left out."""
    pattern = "*.jsonl" if unit is None else f"{Digest(unit).short}-*.jsonl"
    for path in sorted(folder.glob(pattern)):
        header = read_header(path)
        if header is not None:
            yield JournalFile(path, header)


def read_header(path: Path) -> Header | None:
    """The header of a file; None if the file or its header is damaged."""
    try:
        with path.open("rb") as stream:
            return Header.model_validate_json(stream.readline())
    except (OSError, ValidationError):
        return None
