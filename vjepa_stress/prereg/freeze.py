"""Freezing a preregistration and loading it again: verify the bytes, then parse those bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vjepa_stress.digest import Digest, canonical_json, parse_json, sha256, write_durably
from vjepa_stress.errors import AlreadyRegistered, BadDocument, DocumentTampered, NotRegistered
from vjepa_stress.prereg import ledger
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.ledger import Checkpoint, Leaf, LedgerView
from vjepa_stress.prereg.root import StudyRoot, check_study_name
from vjepa_stress.prereg.schema import validate


@dataclass(frozen=True)
class Registration:
    """A registered study, its bytes verified against the ledger.

    Attributes:
        document: the preregistration.
        digest: digest of its bytes.
        leaf: the ledger's `registered` leaf.
        ledger: the verified ledger it was read from.
    """

    document: Preregistration
    digest: Digest
    leaf: Leaf
    ledger: LedgerView


def to_bytes(document: Preregistration) -> bytes:
    """The canonical bytes of a document."""
    return canonical_json(document.model_dump(mode="json", by_alias=True))


def from_bytes(data: bytes, where: object) -> Preregistration:
    """Parse the bytes of a frozen document.

    Raises:
        BadDocument: when they are not the canonical bytes of a valid preregistration.
    """
    value = parse_json(data, where)
    if canonical_json(value) != data:
        raise BadDocument("a frozen document must be canonical JSON (RFC 8785), byte for byte", where=where)
    return validate(Preregistration, value, where)


def register(
    root: StudyRoot, document: Preregistration, clip_manifests: dict[str, bytes]
) -> tuple[Digest, Checkpoint]:
    """Freeze a preregistration: write its canonical bytes once and log their digest.

    Args:
        clip_manifests: bytes of the clip manifest of each data set whose digest the document holds.

    Raises:
        AlreadyRegistered: when the ledger knows the study.
        BadDocument: when the document does not survive its own round trip.
    """
    data = to_bytes(document)
    path = root.document(document.study, document.version)
    if from_bytes(data, path) != document:
        raise BadDocument("the document changes when it is written and read again", where=path)
    digest = sha256(data)

    def prepare(view: LedgerView) -> None:
        for leaf in view.of(document.study):
            raise AlreadyRegistered(
                f"the study {document.study} is registered; a promise is amended, never made again",
                where=root.ledger,
                found=f"{leaf.event} at {leaf.at} as {leaf.document}",
                todo="choose another study name, or amend this one",
            )
        # Without a leaf nothing was promised: a file left by an interrupted registration may be replaced.
        write_durably(path, data)
        for name, manifest in clip_manifests.items():
            write_durably(root.clips(document.study, name, sha256(manifest)), manifest)

    details: dict[str, Any] = {
        "version": document.version,
        "data_status": document.data_status,
        "hypotheses": [hypothesis.id for hypothesis in document.hypotheses],
    }
    _, checkpoint = ledger.append(
        root, "registered", document.study, document=digest, details=details, prepare=prepare
    )
    return digest, checkpoint


def load(root: StudyRoot, study: str, view: LedgerView | None = None) -> Registration:
    """Load a registered study; nothing is parsed before its bytes are verified.

    Raises:
        LedgerTampered: when the ledger does not verify.
        NotRegistered: when the ledger does not know the study.
        DocumentTampered: when the bytes are not those that were registered.
    """
    check_study_name(study)
    view = view or ledger.read(root)
    registered = [leaf for leaf in view.of(study) if leaf.event == "registered"]
    if not registered:
        studies = sorted({leaf.study for leaf in view.leaves})
        raise NotRegistered(
            f"the study {study} is not registered here",
            where=root.ledger,
            found=f"studies {studies}" if studies else "an empty ledger",
            todo=f"vjepa-stress register prereg/{study}/draft.yaml",
        )
    leaf = registered[0]
    path = root.document(study, str(leaf.details.get("version")))
    data = path.read_bytes() if path.is_file() else None
    if data is None or sha256(data) != leaf.document:
        raise DocumentTampered(
            "the preregistration is not the one that was registered",
            where=path,
            expected=leaf.document,
            found="no such file" if data is None else sha256(data),
            todo="restore the registered bytes; a change is made by an amendment, never by an edit",
        )
    return Registration(from_bytes(data, path), sha256(data), leaf, view)
