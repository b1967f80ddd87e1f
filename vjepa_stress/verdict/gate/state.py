"""What the checks of the gate read and fill in."""

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
    """One passage through the gate.

    Attributes:
        root: the study root.
        ledger: the whole ledger.
        registration: the study as of the leaves that it is judged by.
        attempts: its attempts.
        ignored: folders of cells that later or earlier documents name.
        stored: cells of the newest document, verified; filled in by the check of shards.
        former: cells that earlier documents name and the newest does not, where they are stored.
        launch_of: the launch of each stored cell, by folder name; filled in by the check of manifests.
        objections: what stops an evaluation.
    """

    root: StudyRoot
    ledger: LedgerView
    registration: Registration
    attempts: Attempts
    ignored: frozenset[str]
    stored: Mapping[Cell, StoredCell] = field(default_factory=dict)
    former: Mapping[str, Cell] = field(default_factory=dict)
    launch_of: dict[str, Launched] = field(default_factory=dict)
    objections: list[NotEvaluable] = field(default_factory=list)

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.registration.document.study

    @property
    def design(self) -> Design:
        """The newest document's design."""
        return self.registration.document.design

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The study's leaves."""
        return self.registration.ledger.of(self.study)

    @property
    def attempt(self) -> int:
        """The attempt that counts, or the last one."""
        return self.attempts.counted or max(self.attempts.last, 1)

    @property
    def folder(self) -> Path:
        """Where the attempt lies."""
        return self.root.attempt(self.study, self.registration.root_digest, self.attempt)

    @property
    def outputs(self) -> Path:
        """Where everything that ran under the study lies."""
        return self.root.outputs(self.study, self.registration.root_digest)

    def units_path(self, name: str, digest: Digest) -> Path:
        """Where the list of units with this digest is kept."""
        return self.root.clips(self.study, name, digest)
