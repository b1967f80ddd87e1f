"""Compare output folders with the ledger: results without a logged look, and outputs without a registration.

Such files remain when a ledger is truncated and the outputs are not. The checks only read.
"""

from __future__ import annotations

from pathlib import Path

from vjepa_stress.digest import sha256
from vjepa_stress.errors import LedgerTampered, ResultTampered
from vjepa_stress.ledger import LedgerView, Viewed
from vjepa_stress.study_root import StudyRoot


def logged(view: LedgerView, study: str) -> dict[str, list[str]]:
    """The logged digests of each result file, by its path in the output folder, in the order of the looks."""
    digests: dict[str, list[str]] = {}
    for leaf in view.of(study, Viewed):
        for name, digest in leaf.files.items():
            digests.setdefault(name, []).append(digest)
    return digests


def check_shown(folder: Path, view: LedgerView, study: str) -> None:
    """Check that every verdict and report in an output folder was logged with its current bytes.

    The bytes may be those of any look, not only of the last one: a look that was interrupted between leaf and file
    leaves the file of the previous look.

    Raises:
        ResultTampered: for a file that no `viewed` leaf names, or that has other bytes.
    """
    known = logged(view, study)
    folders, patterns = (folder, folder / "exploratory"), ("verdict*.json", "report*")
    for path in sorted(path for parent in folders for pattern in patterns for path in parent.glob(pattern)):
        digests = known.get(path.relative_to(folder).as_posix(), [])
        if not digests:
            raise ResultTampered(
                "the ledger has no look for a result file",
                where=path,
                expected="a `viewed` leaf that names this file",
                found="none: the ledger was truncated, or the file was added",
                fix="restore the ledger from a copy; if the file is not of this study, move it away",
            )
        found = sha256(path.read_bytes()) if path.is_file() else None
        if found not in digests:
            raise ResultTampered(
                "a file differs from the one that was written and logged",
                where=path,
                expected=digests[-1],
                found=found or "no file",
                fix=f"restore it, or move it and run: vjepa-stress verdict {study} && vjepa-stress report {study}",
            )


def check_outputs(root: StudyRoot, study: str, registered: Path | None = None) -> None:
    """Check that all outputs of a study are those of its registration in the ledger.

    Args:
        root: the study root.
        study: its name.
        registered: the output folder of the registration; None when the study is not registered.

    Raises:
        LedgerTampered: for outputs of another registration.
    """
    folder = root.path / "outputs" / study
    if not folder.is_dir():
        return
    unknown = sorted(
        path for path in folder.iterdir() if path.is_dir() and path != registered and path.name[0] != "."
    )
    if unknown:
        raise LedgerTampered(
            "there are outputs of a registration that is not in the ledger",
            where=unknown[0],
            expected=f"only {registered.name}" if registered else f"no outputs: {study} is not registered",
            found=", ".join(path.name for path in unknown[:5]),
            fix="restore the ledger that lists the registration from a copy, or choose another study name",
        )
