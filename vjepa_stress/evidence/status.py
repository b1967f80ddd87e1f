"""Progress of a study, computed from its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vjepa_stress.ledger import Registered, read
from vjepa_stress.prereg import freeze
from vjepa_stress.records import Attempts, cell_folders, failures
from vjepa_stress.records.progress import launches
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
    """Numbers of done, missing and failed cells of the current attempt, the time left, and the processes at work.

    Cells are counted by the names of folders and the headers of the journal; `audit` verifies what they contain. A
    cell that the journal holds completely is done: the run that ends, or the next one, writes its shard.

    Raises:
        Tampered: when the registration cannot be verified.
    """
    registration = freeze.load(root, study)
    attempts = Attempts.of(registration)
    attempt = attempts.under_way
    folder = root.attempt(study, registration.root_digest, attempt)
    registered = attempts.current
    progress = list(launches(folder))
    done = {path.name for path in cell_folders(folder)} & registered.keys()
    for launch in progress:
        done |= launch.counted.complete & registered.keys()
    crashed = {cell for failure in failures(folder) for cell in failure.cells}
    failed = [name for name, cell in registered.items() if name not in done and cell in crashed]
    running = [launch for launch in progress if launch.running]
    left = [launch.seconds_left for launch in running if launch.seconds_left is not None]
    jobs = [(launch, job) for launch in progress for job in launch.jobs]
    return {
        "study": study,
        "version": registration.document.version,
        "attempt": attempt,
        "registered": len(registered),
        "done": len(done),
        "missing": len(registered) - len(done),
        "failed": len(failed),
        "completed": attempts.covered(attempt),
        "clips": sum(launch.counted.units for launch in running) if running else None,
        "clips_of_run": sum(launch.counted.all_units for launch in running) if running else None,
        "seconds_left": round(max(left)) if left else None,
        "jobs": [
            {
                "job": job.path.stem,
                "line": launch.sequence + 1,
                "host": job.sign.host,
                "process": job.sign.process,
                "state": "running" if job.alive else "lost",
                "seconds_since_sign": round(job.age),
            }
            for launch, job in jobs
            if launch.running or launch is progress[-1]
        ],
    }
