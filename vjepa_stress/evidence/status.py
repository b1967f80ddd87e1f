"""How far a study is, from its files alone."""

from __future__ import annotations

from typing import Any

from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.root import StudyRoot
from vjepa_stress.records import cell_folders, cell_id, failures, read_cell


def status_of(root: StudyRoot, study: str) -> dict[str, Any]:
    """Cells done, missing and failed of the attempt that is under way, and the time left at its pace so far.

    Raises:
        Tampered: when the registration, or a shard, does not hold.
    """
    registration = freeze.load(root, study)
    leaves = registration.ledger.of(study)
    launches = [leaf for leaf in leaves if leaf.event == "launched" and not leaf.details.get("exploratory")]
    attempt = max((int(leaf.details["attempt"]) for leaf in launches), default=1)
    folder = root.attempt(study, registration.digest, attempt)
    registered = {cell_id(registration.digest, cell): cell for cell in registration.document.design.cells}
    stored = [read_cell(path).manifest for path in cell_folders(folder) if path.name in registered]
    done = {manifest.cell for manifest in stored}
    crashed = {failure.cell for failure in failures(folder)} - done
    missing = [cell for cell in registration.document.design.cells if cell not in done]
    seconds = sum(sum(manifest.seconds.values()) for manifest in stored)
    left = seconds / len(stored) * len(missing) if stored else None
    return {
        "study": study,
        "attempt": attempt,
        "registered": len(registered),
        "done": len(done),
        "missing": len(missing),
        "failed": len(crashed),
        "completed": any(leaf.event == "completed" and leaf.details["attempt"] == attempt for leaf in leaves),
        "seconds_left": None if left is None else round(left),
    }
