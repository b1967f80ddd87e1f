"""Commit results: assemble shards and manifests from the journal.

Only a process that launches jobs does this, one at a time: a run that starts assembles what earlier launches left.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from vjepa_stress.design.video import VideoCell
from vjepa_stress.digest import sha256
from vjepa_stress.disk import writing
from vjepa_stress.records import Manifest, Row, content_digest, shard_bytes, shard_schema, write_cell
from vjepa_stress.records.journal import FOLDER as JOURNAL
from vjepa_stress.records.journal import JournalFile, journal_files, read_row
from vjepa_stress.records.progress import LAUNCHES
from vjepa_stress.sweep.launch import Group, Launch

_AT_ONCE = 256
"""Cells assembled in one pass over the journal: limits the memory."""


def assemble(launch: Launch) -> int:
    """Write the cells of a launch for which the journal has all clips, each as a whole or not at all.

    Returns:
        The number of cells written.

    Raises:
        Tampered: when the registration has changed.
        MachineFailure, CannotWrite: when a cell cannot be written; the journal is kept.
    """
    with writing(launch.attempt_folder), FileLock(launch.attempt_folder / ".assemble.lock"):
        return _assemble(launch)


def _assemble(launch: Launch) -> int:
    written = 0
    for group in launch.groups:
        names = [launch.names[cell] for cell in group.cells if not launch.cell_folder(cell).exists()]
        files = [file for file in journal_files(group.journal) if file.header.facts == group.facts] if names else []
        if not files:
            continue
        launch.verify_document()
        for start in range(0, len(names), _AT_ONCE):
            written += _assemble_some(launch, group, files, names[start : start + _AT_ONCE])
    return written


def assemble_earlier(attempt_folder: Path) -> int:
    """Assemble what earlier launches of an attempt left, for instance because they were killed."""
    journal = attempt_folder / JOURNAL
    if not journal.is_dir():
        return 0
    return sum(assemble(launch) for launch in earlier_launches(attempt_folder))


def earlier_launches(attempt_folder: Path) -> Iterator[Launch]:
    """Launches of an attempt, oldest first."""
    folders = [path for path in (attempt_folder / LAUNCHES).glob("*") if path.name.isdigit()]
    for folder in sorted(folders, key=lambda path: int(path.name)):
        path = folder / "launch.json"
        if path.is_file():
            yield Launch.read(path)


def discard_journal(attempt_folder: Path) -> None:
    """Remove the journal of an attempt whose cells are all complete."""
    shutil.rmtree(attempt_folder / JOURNAL, ignore_errors=True)


class _Found:
    """The rows of one cell, by unit, with the files that they come from."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, JournalFile]] = {}


def _assemble_some(launch: Launch, group: Group, files: Sequence[JournalFile], names: Sequence[str]) -> int:
    found = {name: _Found() for name in names}
    for file in files:
        wanted = [(k, name) for k, name in enumerate(file.header.cells) if name in found]
        lines = file.lines() if wanted else None
        if lines is not None:
            for k, name in wanted:
                found[name].rows.setdefault(file.header.unit, (lines[k], file))
    units = [clip.digest for clip in group.clips]
    complete = [name for name in names if all(unit in found[name].rows for unit in units)]
    for name in complete:
        _write(launch, group, launch.cells[name], [found[name].rows[unit] for unit in units])
    return len(complete)


def _write(launch: Launch, group: Group, cell: VideoCell, parts: Sequence[tuple[bytes, JournalFile]]) -> None:
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    for line, _ in parts:
        row, stages = read_row(line)
        rows.append(row)
        for stage, value in stages.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    headers = [file.header for _, file in parts]
    shard = shard_bytes(rows, shard_schema(launch.design))
    manifest = Manifest(
        schema="vjepa-stress/manifest/v3",
        prereg_digest=launch.prereg_digest,
        ledger_checkpoint=max((header.launch for header in headers), key=lambda one: one.size),
        attempt=launch.attempt,
        cell=cell,
        shard_digest=sha256(shard),
        content_digest=content_digest(rows),
        rows=len(rows),
        config_digest=launch.design.config_digest(cell),
        identities={"weights": launch.weights[cell.model], "clips": launch.clips[cell.dataset]},
        units=tuple(clip.digest for clip in group.clips),
        settings=dict(launch.design.settings),
        code_digest=launch.code.digest,
        code_dirty=launch.code.dirty,
        workers=tuple({header.worker.model_dump_json(): header.worker for header in headers}.values()),
        started=min(header.started for header in headers),
        finished=max(header.finished for header in headers),
        seconds={stage: round(value, 6) for stage, value in sorted(seconds.items())},
    )
    write_cell(launch.cell_folder(cell), shard, manifest)
