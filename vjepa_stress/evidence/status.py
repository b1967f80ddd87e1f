"""Progress of a study, computed from its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vjepa_stress.ledger import Registered, read
from vjepa_stress.prereg import freeze
from vjepa_stress.records import Attempts, cell_folders, failures, read_cell
from vjepa_stress.study_root import StudyRoot


@dataclass(frozen=True)
class RegisteredStudy:
    """A study of the ledger: name, newest version, time of the first registration, title."""

    study: str
    version: str
    registered: str
    title: str


def registered(root: StudyRoot) -> list[RegisteredStudy]:
    """The studies of a root, sorted by name.

    Raises:
        Tampered: when the ledger or a registration cannot be verified.
    """
    view = read(root)
    studies = []
    for study in sorted({leaf.study for leaf in view.leaves if isinstance(leaf, Registered)}):
        registration = freeze.load(root, study, view)
        newest = registration.document
        studies.append(RegisteredStudy(study, newest.version, registration.leaf.at, newest.title))
    return studies


def status_of(root: StudyRoot, study: str) -> dict[str, Any]:
    """Numbers of done, missing and failed cells of the current attempt, and the estimated time left in seconds.

    Raises:
        Tampered: when the registration or a shard cannot be verified.
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
