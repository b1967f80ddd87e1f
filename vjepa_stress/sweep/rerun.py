"""Computing cells of a finished study again, in memory: does this machine get the numbers that were judged?"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from vjepa_stress.design import Cell
from vjepa_stress.design.video import VideoCell, as_video
from vjepa_stress.errors import CellsIncomplete, ResultTampered
from vjepa_stress.prereg import freeze
from vjepa_stress.provenance import code_state
from vjepa_stress.records import Attempts, Row, StoredCell, content_digest
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks, ExecConfig
from vjepa_stress.sweep.features import scratch_folder
from vjepa_stress.sweep.plan import Launch, kinds_of, stored_cells
from vjepa_stress.sweep.run import CellRunner, Stages, settle

TOLERANCE = 1e-5
"""How far values may differ that another processor or another version of torch computed."""


@dataclass(frozen=True)
class Again:
    """One cell, computed again.

    Attributes:
        cell: which.
        same: the content digest is the same: every number, to the last bit.
        largest: largest difference of a value, 0 where `same`.
    """

    cell: Cell
    same: bool
    largest: float


def rerun(root: StudyRoot, study: str, count: int, seed: int, blocks: Blocks, place: ExecConfig) -> list[Again]:
    """Compute some registered cells again and compare them with the attempt that counts; nothing is written.

    Args:
        root: the study root.
        study: its name.
        count: how many cells; all where there are fewer.
        seed: chooses them.
        blocks: where the classes of building blocks lie now; their fields are those registered.
        place: where and how fast.

    Raises:
        CellsIncomplete: when no attempt is complete.
        BadConfiguration: when the class of a building block is not known here.
        Tampered: when documents, building blocks, shards, clips or weights are not the registered ones.
        ResultTampered: when a number differs by more than `TOLERANCE`, or anything else at all.
    """
    registration = freeze.load(root, study)
    attempts = Attempts.of(registration)
    if attempts.counted is None:
        raise CellsIncomplete(
            "no attempt of this study is complete, so there is nothing to compare with",
            where=study,
            fix=f"vjepa-stress run {study}",
        )
    folder = root.attempt(study, registration.root_digest, attempts.counted)
    stored = stored_cells(registration, attempts, attempts.counted, folder)
    names = sorted(set(stored) & set(attempts.current))
    chosen = [stored[name] for name in random.Random(seed).sample(names, min(count, len(names)))]  # noqa: S311
    cells = tuple(VideoCell(one.manifest.cell) for one in chosen)
    settle(place)
    launch = Launch(
        schema="vjepa-stress/launch/v1",
        root=root.path,
        study=study,
        document=root.document(study, registration.document.version),
        prereg_digest=registration.digest,
        exploratory=False,
        attempt=attempts.counted,
        folder=folder,
        cells=cells,
        names=tuple(one.folder.name for one in chosen),
        ledger_checkpoint=chosen[0].manifest.ledger_checkpoint,
        code=code_state(place.plugins),
        weights={str(one.manifest.cell["model"]): one.manifest.identities["weights"] for one in chosen},
        targets=blocks.targets(kinds_of(as_video(registration.document.design), cells), study),
        clips={name: digest for leaf in attempts.launches for name, digest in leaf.bound("clips").items()},
    )
    design = launch.load_design()
    with scratch_folder(place.scratch) as scratch:
        return [
            compare(one, CellRunner(launch, design, place, cell.dataset, cell.model, scratch).rows(cell, Stages()))
            for one, cell in zip(chosen, launch.cells, strict=True)
        ]


def compare(one: StoredCell, rows: list[Row]) -> Again:
    """Compare rows computed again with a stored cell.

    Raises:
        ResultTampered: when a number differs by more than `TOLERANCE`, or anything else at all.
    """
    if content_digest(rows) == one.manifest.content_digest:
        return Again(one.manifest.cell, True, 0.0)
    before = {str(row["clip"]): row for row in one.table.to_pylist()}
    largest = max(_distance(value, before[str(row["clip"])][name]) for row in rows for name, value in row.items())
    if largest > TOLERANCE:
        raise ResultTampered(
            "this cell, computed again, has other numbers",
            where=one.manifest.cell,
            expected=f"values within {TOLERANCE:g} of {one.folder / 'shard.parquet'}",
            found=f"a difference of {largest:.2g}",
            fix="compare the versions and the processor in its manifest with this machine's",
        )
    return Again(one.manifest.cell, False, largest)


def _distance(value: object, other: object) -> float:
    """How far apart two values of a row are: only numbers that are no counts can differ a little."""
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        return max(map(_distance, value, other), default=0.0)
    if isinstance(value, float) and isinstance(other, float):
        return abs(value - other)
    return 0.0 if value == other else math.inf
