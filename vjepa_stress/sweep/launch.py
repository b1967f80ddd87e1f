"""A launch: what its jobs compute, and what their rows are bound to."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vjepa_stress.blocks import ClipRef
from vjepa_stress.design.video import VideoCell, VideoDesign, as_video
from vjepa_stress.digest import Digest, canonical_json, parse_json, sha256_file
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadInput, DocumentTampered
from vjepa_stress.fields import Frozen
from vjepa_stress.prereg.freeze import from_bytes
from vjepa_stress.prereg.schema import validate
from vjepa_stress.provenance import CodeState
from vjepa_stress.records import CheckpointRecord, read_clips
from vjepa_stress.records.journal import group_folder
from vjepa_stress.records.progress import LAUNCHES, GroupOutline, Outline
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import ExecConfig
from vjepa_stress.sweep.computation import Computation
from vjepa_stress.sweep.selection import grouped


@dataclass(frozen=True)
class Unit:
    """One clip with one model: the cells of it that a launch computes."""

    model: str
    dataset: str
    clip: ClipRef
    cells: tuple[VideoCell, ...]


@dataclass(frozen=True)
class Group:
    """The cells of one model and data set of a launch, and the folder of their rows in the journal."""

    model: str
    dataset: str
    cells: tuple[VideoCell, ...]
    clips: tuple[ClipRef, ...]
    journal: Path
    facts: Digest


class Launch(Frozen):
    """Input of the jobs that compute the cells of one launch."""

    schema_: Literal["vjepa-stress/launch/v2"] = Field(alias="schema", default="vjepa-stress/launch/v2")
    root: Path
    study: str
    document: Path = Field(description="the preregistration; for an exploratory launch, a separate design")
    prereg_digest: Digest = Field(description="digest of that file")
    exploratory: bool
    attempt: int
    attempt_folder: Path
    cells: dict[str, VideoCell] = Field(description="cells by the names of their folders")
    ledger_checkpoint: CheckpointRecord = Field(description="of the ledger whose last leaf is the launch")
    code: CodeState
    weights: dict[str, Digest]
    clips: dict[str, Digest]
    targets: dict[str, str] = Field(description="module and class of each kind of building block")

    @property
    def sequence(self) -> int:
        """Number of the launch's leaf in the ledger, which names the launch."""
        return self.ledger_checkpoint.size - 1

    @property
    def folder(self) -> Path:
        """Folder of this launch."""
        return self.attempt_folder / LAUNCHES / str(self.sequence)

    @property
    def path(self) -> Path:
        """File of this launch."""
        return self.folder / "launch.json"

    @property
    def sign(self) -> Path:
        """File with the sign of life of the launching process."""
        return self.folder / "launcher.json"

    @functools.cached_property
    def names(self) -> dict[VideoCell, str]:
        """Folder name of each cell."""
        return {cell: name for name, cell in self.cells.items()}

    def cell_folder(self, cell: VideoCell) -> Path:
        """Folder of a cell of this launch."""
        return self.attempt_folder / "cells" / self.names[cell]

    @functools.cached_property
    def design(self) -> VideoDesign:
        """The design, after its file has been verified again.

        Raises:
            DocumentTampered: when its bytes have changed since the launch.
        """
        self.verify_document()
        data = self.document.read_bytes()
        if self.exploratory:
            return validate(VideoDesign, parse_json(data, self.document), self.document)
        return as_video(from_bytes(data, self.document).design)

    def verify_document(self) -> None:
        """Verify that the document has not changed since the launch.

        Raises:
            DocumentTampered: when its bytes have changed.
        """
        found = sha256_file(self.document) if self.document.is_file() else None
        if found != self.prereg_digest:
            raise DocumentTampered(
                "the preregistration changed while its cells were computed",
                where=self.document,
                expected=self.prereg_digest,
                found=found or "no such file",
                fix="restore the registered file, then run the same command again",
            )

    def computation(self, exec_config: ExecConfig) -> Computation:
        """The design with its building blocks on this machine."""
        return Computation(self.design, self.targets, self.weights, exec_config)

    def facts(self, model: str, dataset: str) -> dict[str, Any]:
        """What the rows of one model and data set must have in common to be combined in one cell."""
        return {
            "document": self.prereg_digest,
            "code": self.code.digest,
            "weights": self.weights[model],
            "clips": self.clips[dataset],
        }

    @functools.cached_property
    def groups(self) -> tuple[Group, ...]:
        """The cells of this launch by model and data set, in that order.

        Raises:
            IdentityChanged: when a clip manifest is missing or has changed.
        """
        groups = []
        for (model, dataset), cells in grouped(self.cells.values()).items():
            digest = self.clips[dataset]
            clips = read_clips(StudyRoot(self.root).clips(self.study, dataset, digest), digest).clips
            folder, facts = group_folder(self.attempt_folder, model, dataset, self.facts(model, dataset))
            groups.append(Group(model, dataset, tuple(cells), clips, folder, facts))
        return tuple(groups)

    def units(self, models: Iterable[str] | None = None, shares: Iterable[tuple[int, int]] = ()) -> list[Unit]:
        """The units of some models, or a share of them.

        Args:
            models: names of models; None for all.
            shares: pairs (k, n), applied one after the other: every n-th unit, starting with the k-th.
        """
        chosen = None if models is None else set(models)
        units = [
            Unit(group.model, group.dataset, clip, group.cells)
            for group in self.groups
            if chosen is None or group.model in chosen
            for clip in group.clips
        ]
        for k, n in shares:
            units = units[k - 1 :: n]
        return units

    def group_of(self, unit: Unit) -> Group:
        """The group of a unit."""
        return self._group_of[unit.model, unit.dataset]

    @functools.cached_property
    def _group_of(self) -> Mapping[tuple[str, str], Group]:
        return {(group.model, group.dataset): group for group in self.groups}

    @functools.cached_property
    def outline(self) -> Outline:
        """What counting needs to know of this launch."""
        return Outline(
            groups=tuple(
                GroupOutline(
                    journal=group.journal.name,
                    units=tuple(Digest(clip.digest).short for clip in group.clips),
                    cells=tuple(self.names[cell] for cell in group.cells),
                )
                for group in self.groups
            )
        )

    def write(self) -> Path:
        """Write the launch for its jobs, and its outline; return the path."""
        self.outline.write(self.folder)
        write_durably(self.path, canonical_json(self.model_dump(mode="json", by_alias=True)))
        return self.path

    @classmethod
    def read(cls, path: Path) -> Launch:
        """Read a launch that `write` wrote."""
        return validate(cls, parse_json(path.read_bytes(), path), path)


def parse_share(chunk: str | None) -> list[tuple[int, int]]:
    """The share of a job, from `chunk=k/n`.

    Raises:
        BadInput: for anything else.
    """
    if chunk is None:
        return []
    k, _, n = str(chunk).partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise BadInput(
            "invalid value of chunk",
            found=f"chunk={chunk}",
            expected="chunk=K/N with 1 <= K <= N, for instance chunk=1/4",
            fix="use exec.chunks=4 to split the clips of each model into 4 jobs",
        )
    return [(int(k), int(n))]
