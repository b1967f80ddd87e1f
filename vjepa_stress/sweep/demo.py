"""A study root for the demo: the registration that ships with the package, promised anew in a ledger of its own."""

from __future__ import annotations

from pathlib import Path

from vjepa_stress.digest import sha256
from vjepa_stress.errors import AlreadyRegistered, writing
from vjepa_stress.prereg import freeze, ledger
from vjepa_stress.prereg.root import StudyRoot
from vjepa_stress.provenance import shipped

STUDY = "demo"


def prepare(folder: Path) -> StudyRoot:
    """Make the root, or take up one that an earlier demo left.

    Raises:
        AlreadyRegistered: when the folder holds another version of the demo.
        CannotWrite: when the folder cannot be made.
    """
    source = shipped("studies") / STUDY
    path = max(source.glob("v*.json"), key=lambda file: int(file.stem[1:]))
    data = path.read_bytes()
    document = freeze.from_bytes(data, path)
    with writing(folder):
        (folder / "prereg").mkdir(parents=True, exist_ok=True)
    root = StudyRoot(folder.resolve())
    registered = [leaf.document for leaf in ledger.read(root).of(STUDY) if leaf.event == "registered"]
    if not registered:
        manifests = {
            name: (source / "clips" / f"{name}-{entry.clip_manifest_digest.short}.json").read_bytes()
            for name, entry in document.design.datasets.items()
            if entry.clip_manifest_digest is not None
        }
        freeze.register(root, document, manifests)
    elif registered[0] != sha256(data):
        raise AlreadyRegistered(
            "this folder holds another version of the demo",
            where=folder,
            expected=sha256(data),
            found=registered[0],
            todo="choose another folder with --out DIR",
        )
    return root
