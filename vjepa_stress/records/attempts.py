"""Attempts of a study, as logged in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vjepa_stress.design import Cell
from vjepa_stress.digest import Digest
from vjepa_stress.errors import LedgerTampered, ManifestTampered
from vjepa_stress.ledger import Completed, Launched
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.records.cell import StoredCell, manifests_root
from vjepa_stress.records.names import cell_names


@dataclass(frozen=True)
class Attempts:
    """Launches and completions of a study, as logged in the ledger.

    Attributes:
        names: for each document of the study, its cells by folder name.
        current: cells of the newest document, by folder name.
        launches: launches of registered cells.
        completed: completions. An attempt has several when an amendment added cells to it.
    """

    names: Mapping[Digest, Mapping[str, Cell]]
    current: Mapping[str, Cell]
    launches: tuple[Launched, ...]
    completed: tuple[Completed, ...]

    @classmethod
    def of(cls, registration: Registration) -> Attempts:
        """Read the attempts from the leaves of a study.

        Raises:
            LedgerTampered: when a leaf refers to a document that is not of the study.
        """
        names = cell_names(registration.lineage)
        view, study = registration.ledger, registration.document.study
        launches, completed = view.of(study, Launched), view.of(study, Completed)
        for leaf in (*launches, *completed):
            if leaf.document not in names:
                raise LedgerTampered(
                    "a line of the ledger refers to a document that is not of its study",
                    where=f"line {leaf.seq + 1}",
                    expected=" or ".join(names),
                    found=leaf.document,
                    fix="restore the ledger from a copy",
                )
        return cls(names, names[registration.digest], launches, completed)

    @property
    def former(self) -> dict[str, Cell]:
        """Cells of earlier documents that the newest document does not have."""
        known = {name: cell for cells in self.names.values() for name, cell in cells.items()}
        return {name: cell for name, cell in known.items() if name not in self.current}

    @property
    def last(self) -> int:
        """Number of the last attempt; 0 when there is none."""
        return max((leaf.attempt for leaf in self.launches), default=0)

    @property
    def counted(self) -> int | None:
        """The attempt that is judged: the first completed one. Later attempts do not change it."""
        return min((leaf.attempt for leaf in self.completed), default=None)

    @property
    def under_way(self) -> int:
        """The attempt to continue: the judged one, unless a later one was started and not completed."""
        done = {leaf.attempt for leaf in self.completed}
        if self.counted is not None and (not self.covered(self.counted) or self.last in done):
            return self.counted
        return max(self.last, 1)

    def completions(self, attempt: int) -> list[Completed]:
        """Completions of one attempt."""
        return [leaf for leaf in self.completed if leaf.attempt == attempt]

    def cells_of(self, leaf: Launched | Completed) -> Mapping[str, Cell]:
        """Cells of the document that a leaf refers to."""
        return self.names[leaf.document]

    def covered(self, attempt: int) -> bool:
        """Whether the attempt was completed with every cell of the newest document."""
        return any(self.current.keys() <= self.cells_of(leaf).keys() for leaf in self.completions(attempt))

    def check_root(self, completion: Completed, stored: Mapping[str, StoredCell], where: object) -> None:
        """Compare the manifests of a completed attempt with the root in the ledger.

        Raises:
            ManifestTampered: when they differ.
        """
        found = manifests_root([stored[name] for name in self.cells_of(completion) if name in stored])
        if completion.root != found:
            raise ManifestTampered(
                "the manifests are not those of the completed attempt",
                where=where,
                expected=completion.root,
                found=found,
                fix="restore the attempt from a copy",
            )
