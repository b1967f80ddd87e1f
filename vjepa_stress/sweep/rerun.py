"""Compute cells of a complete attempt again, in memory, and compare the values with the stored ones."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from vjepa_stress.design import Cell
from vjepa_stress.design.video import VideoCell, as_video
from vjepa_stress.errors import CellsIncomplete, ResultTampered
from vjepa_stress.prereg import freeze
from vjepa_stress.records import Attempts, Row, StoredCell, content_digest, read_clips
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks, ExecConfig
from vjepa_stress.sweep.computation import Computation, configure_torch
from vjepa_stress.sweep.plan import kinds_of, stored_cells

TOLERANCE = 1e-5
"""Largest accepted difference between values computed on another processor or with another version of torch."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of one cell with its stored values.

    Attributes:
        cell: the cell.
        same: whether the content digests agree, that is, every value to the last bit.
        largest: largest absolute difference of a value; 0 if `same`.
    """

    cell: Cell
    same: bool
    largest: float


def rerun(
    root: StudyRoot, study: str, count: int, seed: int, blocks: Blocks, exec_config: ExecConfig
) -> list[Comparison]:
    """Compute some registered cells again and compare them with the judged attempt; write nothing.

    Args:
        root: the study root.
        study: name of the study.
        count: number of cells; all cells if there are fewer.
        seed: seed of the random choice.
        blocks: the classes of building blocks; their fields are taken from the registration.
        exec_config: where and how fast to compute.

    Raises:
        CellsIncomplete: when no attempt is complete.
        BadConfiguration: when no class has the kind of a registered building block.
        Tampered: when documents, building blocks, shards, clips or weights differ from the registered ones.
        ResultTampered: when a floating-point value differs by more than `TOLERANCE`, or any other value differs.
    """
    registration = freeze.load(root, study)
    attempts = Attempts.of(registration)
    if attempts.counted is None:
        raise CellsIncomplete(
            "no attempt of this study is complete; there are no results to compare with",
            where=study,
            fix=f"vjepa-stress run {study}",
        )
    folder = root.attempt(study, registration.root_digest, attempts.counted)
    stored = stored_cells(registration, attempts, attempts.counted, folder)
    names = sorted(set(stored) & set(attempts.current))
    chosen = [stored[name] for name in random.Random(seed).sample(names, min(count, len(names)))]  # noqa: S311
    cells = [VideoCell(one.manifest.cell) for one in chosen]
    design = as_video(registration.document.design)
    clips = {
        dataset: read_clips(root.clips(study, dataset, digest), digest).clips
        for leaf in attempts.launches
        for dataset, digest in leaf.bound("clips").items()
    }
    configure_torch(exec_config.threads)
    computation = Computation(
        design,
        blocks.targets(kinds_of(design, cells), study),
        {str(one.manifest.cell["model"]): one.manifest.identities["weights"] for one in chosen},
        exec_config,
    )
    rows = computation.rows(cells, clips)
    return [compare(one, rows[cell]) for one, cell in zip(chosen, cells, strict=True)]


def compare(one: StoredCell, rows: list[Row]) -> Comparison:
    """Compare rows computed again with a stored cell.

    Raises:
        ResultTampered: when a floating-point value differs by more than `TOLERANCE`, or any other value differs.
    """
    if content_digest(rows) == one.manifest.content_digest:
        return Comparison(VideoCell(one.manifest.cell), True, 0.0)
    before = {str(row["clip"]): row for row in one.table.to_pylist()}
    largest = max(_distance(value, before[str(row["clip"])][name]) for row in rows for name, value in row.items())
    if largest > TOLERANCE:
        raise ResultTampered(
            "a cell that was computed again has other values",
            where=one.manifest.cell,
            expected=f"values within {TOLERANCE:g} of {one.folder / 'shard.parquet'}",
            found=f"a difference of {largest:.2g}"
            if math.isfinite(largest)
            else "a count, flag or missing value differs",
            fix=f"compare packages and device in {one.folder / 'manifest.json'} with this machine",
        )
    return Comparison(VideoCell(one.manifest.cell), False, largest)


def _distance(value: object, other: object) -> float:
    """Absolute difference of two floating-point values; for other values, 0 if equal and infinity if not."""
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        return max(map(_distance, value, other), default=0.0)
    if isinstance(value, float) and isinstance(other, float):
        return abs(value - other)
    return 0.0 if value == other else math.inf
