"""How far a study is, from its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vjepa_stress.ledger import Registered, read
from vjepa_stress.prereg import freeze
from vjepa_stress.records import Attempts, cell_folders, failures, read_cell
from vjepa_stress.study_root import StudyRoot


@dataclass(frozen=True)
class RegisteredStudy:
    """A study of the ledger: its name, newest version, when it was first registered, and its title."""

    study: str
    version: str
    registered: str
    title: str


def registered(root: StudyRoot) -> list[RegisteredStudy]:
    """The studies of a root, by name.

    Raises:
        Tampered: when the ledger or a registration does not hold.
    """
    view = read(root)
    found = []
    for study in sorted({leaf.study for leaf in view.leaves if isinstance(leaf, Registered)}):
        registration = freeze.load(root, study, view)
        newest = registration.document
        found.append(RegisteredStudy(study, newest.version, registration.leaf.at, newest.title))
    return found


def status_of(root: StudyRoot, study: str) -> dict[str, Any]:
    """Cells done, missing and failed of the attempt that is under way, and the time left at its pace so far.

    Raises:
        Tampered: when the registration, or a shard, does not hold.
    """
    registration = freeze.load(root, study)
    attempts = Attempts.of(registration)
    attempt = attempts.under_way
    folder = root.attempt(study, registration.root_digest, attempt)
    registered = attempts.current
    stored = [read_cell(path).manifest for path in cell_folders(folder) if path.name in registered]
    done = {manifest.cell for manifest in stored}
    crashed = {failure.cell for failure in failures(folder)} - done
    missing = [cell for cell in registration.document.design.cells if cell not in done]
    seconds = sum(sum(manifest.seconds.values()) for manifest in stored)
    left = seconds / len(stored) * len(missing) if stored else None
    return {
        "study": study,
        "version": registration.document.version,
        "attempt": attempt,
        "registered": len(registered),
        "done": len(done),
        "missing": len(missing),
        "failed": len(crashed),
        "completed": attempts.covered(attempt),
        "seconds_left": None if left is None else round(left),
    }
