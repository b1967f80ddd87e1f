"""The state that the checks of the gate read and fill in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vjepa_stress.design import Cell, Design
from vjepa_stress.digest import Digest
from vjepa_stress.errors import NotEvaluable
from vjepa_stress.ledger import Launched, Leaf, LedgerView
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.records import Attempts, StoredCell
from vjepa_stress.study_root import StudyRoot


@dataclass
class GateState:
    """State of one run of the gate.

    Attributes:
        root: the study root.
        ledger: the complete ledger.
        registration: the study, as of the leaves that are used.
        attempts: its attempts.
        ignored: folder names of cells of earlier or later documents.
        stored: verified cells of the newest document; filled in by `check_cells`.
        former: stored cells of earlier documents that the newest document does not have; filled in by `check_cells`.
        launch_of: the launch of each stored cell, by folder name; filled in by `check_manifests`.
        sources: unit → source; filled in by `check_manifests`.
        objections: reasons against an evaluation.
    """

    root: StudyRoot
    ledger: LedgerView
    registration: Registration
    attempts: Attempts
    ignored: frozenset[str]
    stored: Mapping[Cell, StoredCell] = field(default_factory=dict)
    former: Mapping[str, Cell] = field(default_factory=dict)
    launch_of: dict[str, Launched] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    objections: list[NotEvaluable] = field(default_factory=list)

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.registration.document.study

    @property
    def design(self) -> Design:
        """Design of the newest document."""
        return self.registration.document.design

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Leaves of the study."""
        return self.registration.ledger.of(self.study)

    @property
    def attempt(self) -> int:
        """The judged attempt, or the last one."""
        return self.attempts.counted or max(self.attempts.last, 1)

    @property
    def folder(self) -> Path:
        """Folder of the attempt."""
        return self.root.attempt(self.study, self.registration.root_digest, self.attempt)

    @property
    def outputs(self) -> Path:
        """Folder of all outputs of the study."""
        return self.root.outputs(self.study, self.registration.root_digest)

    def units_path(self, name: str, digest: Digest) -> Path:
        """File of the list of units with this digest."""
        return self.root.clips(self.study, name, digest)
