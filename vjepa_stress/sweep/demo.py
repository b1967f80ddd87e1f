"""A study root for the demo: the documents that ship with the package, registered in a new ledger."""

from __future__ import annotations

from pathlib import Path

from vjepa_stress import ledger
from vjepa_stress.digest import sha256
from vjepa_stress.disk import writing
from vjepa_stress.errors import AlreadyRegistered
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.provenance import shipped
from vjepa_stress.study_root import StudyRoot

STUDY = "demo"


def prepare(folder: Path) -> StudyRoot:
    """Create the study root, or continue with the one of an earlier demo.

    Raises:
        AlreadyRegistered: when the folder has another version of the demo.
        CannotWrite: when the folder cannot be created.
    """
    source = shipped("studies") / STUDY
    paths = sorted(source.glob("v*.json"), key=lambda file: int(file.stem[1:]))
    files = [path.read_bytes() for path in paths]
    with writing(folder):
        (folder / "prereg").mkdir(parents=True, exist_ok=True)
    root = StudyRoot(folder.resolve())
    promised = [leaf.document for leaf in ledger.read(root).of(STUDY, ledger.DocumentLeaf)]
    shipped_digests = [sha256(data) for data in files]
    if promised != shipped_digests[: len(promised)]:
        raise AlreadyRegistered(
            "this folder has another version of the demo",
            where=folder,
            expected=", ".join(shipped_digests),
            found=", ".join(map(str, promised)),
            fix="choose another folder with --out DIR",
        )
    for path, data in list(zip(paths, files, strict=True))[len(promised) :]:
        document = freeze.from_bytes(data, path)
        append = freeze.extend if document.parent else freeze.register
        append(root, document, _clips(source, document))
    return root


def _clips(source: Path, document: Preregistration) -> dict[str, bytes]:
    return {
        name: (source / "clips" / f"{name}-{entry.digest.short}.json").read_bytes()
        for name, entry in document.design.identities["clips"].items()
        if entry.digest is not None
    }
