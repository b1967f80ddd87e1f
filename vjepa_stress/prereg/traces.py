"""What lies in a study's output folder, held against the ledger: results that no look logged, and outputs of a
registration that the ledger does not know.

Reads only. Whoever cuts a ledger leaves such traces unless the outputs go too.
"""

from __future__ import annotations

from pathlib import Path

from vjepa_stress.digest import sha256
from vjepa_stress.errors import LedgerTampered, ResultTampered
from vjepa_stress.ledger import LedgerView, Viewed
from vjepa_stress.study_root import StudyRoot


def logged(view: LedgerView, study: str) -> dict[str, list[str]]:
    """For each file that was ever shown, by its name in the output folder, its digests in the order of the looks."""
    found: dict[str, list[str]] = {}
    for leaf in view.of(study, Viewed):
        for name, digest in leaf.files.items():
            found.setdefault(name, []).append(digest)
    return found


def check_shown(folder: Path, view: LedgerView, study: str) -> None:
    """Every verdict and report in a study's output folder was logged, with the bytes it has.

    Any logged bytes will do, not only the last: a look that was cut off between leaf and file leaves the file of the
    look before it.

    Raises:
        ResultTampered: for a file that no `viewed` leaf names, or that has other bytes.
    """
    known = logged(view, study)
    places = (folder, folder / "exploratory")
    for path in sorted(p for place in places for shape in ("verdict*.json", "report*") for p in place.glob(shape)):
        digests = known.get(path.relative_to(folder).as_posix(), [])
        if not digests:
            raise ResultTampered(
                "results were shown that the ledger knows no look at",
                where=path,
                expected="a `viewed` leaf that names this file",
                found="none: the ledger was cut, or the file comes from elsewhere",
                fix="restore the ledger from a copy; a file that does not belong here goes elsewhere",
            )
        found = sha256(path.read_bytes()) if path.is_file() else None
        if found not in digests:
            raise ResultTampered(
                "a file is not the one that was written and logged",
                where=path,
                expected=digests[-1],
                found=found or "no file",
                fix=f"restore it, or move it and run: vjepa-stress verdict {study} && vjepa-stress report {study}",
            )


def check_outputs(root: StudyRoot, study: str, mine: Path | None = None) -> None:
    """A study's outputs all lie under the registration that the ledger holds.

    Args:
        mine: the output folder of that registration; None when there is none.

    Raises:
        LedgerTampered: for outputs of another one.
    """
    place = root.path / "outputs" / study
    if not place.is_dir():
        return
    strange = sorted(path for path in place.iterdir() if path.is_dir() and path != mine and path.name[0] != ".")
    if strange:
        raise LedgerTampered(
            "outputs of a registration that the ledger does not know",
            where=strange[0],
            expected=f"only {mine.name}" if mine else f"no outputs: {study} is not registered",
            found=", ".join(path.name for path in strange[:5]),
            fix="restore the ledger that knows them from a copy, or choose another study name",
        )
