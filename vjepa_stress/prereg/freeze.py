"""Freezing and loading of preregistrations: verify the bytes, then parse those bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vjepa_stress import ledger
from vjepa_stress.digest import Digest, canonical_json, parse_json, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import (
    AlreadyRegistered,
    BadDocument,
    DocumentTampered,
    LedgerTampered,
    NoSuccessor,
    NotRegistered,
    did_you_mean,
)
from vjepa_stress.ledger import (
    Amended,
    Checkpoint,
    DocumentLeaf,
    Launched,
    LedgerView,
    Registered,
    Revision,
    Withdrawn,
)
from vjepa_stress.prereg import data_status
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.lineage import (
    Edition,
    changed_paths,
    check_claims,
    check_follows,
    is_withdrawal,
    next_version,
)
from vjepa_stress.prereg.schema import validate
from vjepa_stress.prereg.traces import check_outputs, check_shown
from vjepa_stress.study_root import StudyRoot, check_study_name


@dataclass(frozen=True)
class Registration:
    """A registered study. The bytes of all its documents are verified against the ledger.

    Attributes:
        lineage: the first document, then all amendments and withdrawals, in order.
        ledger: the verified ledger.
    """

    lineage: tuple[Edition, ...]
    ledger: LedgerView

    @property
    def document(self) -> Preregistration:
        """The newest document, which is the one in force."""
        return self.lineage[-1].document

    @property
    def digest(self) -> Digest:
        """Digest of the newest document."""
        return self.lineage[-1].digest

    @property
    def root_digest(self) -> Digest:
        """Digest of the first document. The output folder of the study is named after it."""
        return self.lineage[0].digest

    @property
    def leaf(self) -> DocumentLeaf:
        """The `registered` leaf."""
        return self.lineage[0].leaf

    def edition(self, digest: str | None) -> Edition | None:
        """The document of the study with this digest; None when there is none."""
        return next((edition for edition in self.lineage if edition.digest == digest), None)

    def pinned(self, field: str, name: str) -> Digest | None:
        """The digest that the first launch pinned for this kind and name, with the current specification."""
        spec = self.document.design.identities[field][name].spec
        for leaf in self.ledger.of(self.document.study, Launched):
            launched = self.edition(leaf.document)
            entry = launched.document.design.identities.get(field, {}).get(name) if launched else None
            if entry is not None and entry.spec == spec and name in leaf.bound(field):
                return leaf.bound(field)[name]
        return None


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
        raise BadDocument(
            "a frozen document is not canonical JSON (RFC 8785)",
            where=where,
            fix="restore the registered file from a copy",
        )
    return validate(Preregistration, value, where)


def check_round_trip(document: Preregistration, where: object) -> bytes:
    """The canonical bytes of a document, after a check that they parse to an equal document.

    Raises:
        BadDocument: when they do not, or when a string or number has no canonical form.
    """
    data = to_bytes(document)
    if from_bytes(data, where) != document:
        raise BadDocument(
            "the document changes when it is written and parsed",
            where=where,
            fix="use only values that JSON represents exactly",
        )
    return data


def register(
    root: StudyRoot, document: Preregistration, clip_manifests: Mapping[str, bytes]
) -> tuple[Digest, Checkpoint]:
    """Freeze the first document of a study: write its canonical bytes once and log their digest.

    Args:
        root: the study root.
        document: the document.
        clip_manifests: bytes of the clip manifests, by data set, for all digests in the document.

    Returns:
        The digest of the document and the new checkpoint.

    Raises:
        AlreadyRegistered: when the ledger has the study.
        NoSuccessor: when the document has a parent, or its version is not v1.
        StatusTooEarly: when the ledger rules out its data status.
        BadDocument: when its canonical bytes do not parse to an equal document.
        LedgerTampered: when the study has outputs, which only a registered study can have.
        DocumentTampered: when another document of this version exists on the disk.
    """

    def check(view: LedgerView) -> None:
        check_first(root, view, document)
        data_status.check(root, view, document, clip_manifests)

    return _freeze(root, Registered, document, clip_manifests, {}, check)


def check_first(root: StudyRoot, view: LedgerView, document: Preregistration) -> None:
    """Refuse a document that cannot be the first of a study. The data status is not checked.

    Raises:
        AlreadyRegistered, NoSuccessor, LedgerTampered: see `register`.
    """
    for leaf in view.of(document.study):
        raise AlreadyRegistered(
            f"the study {document.study} is already registered; it can be amended, but not registered again",
            where=root.ledger,
            found=f"{leaf.event} at {leaf.at} as {leaf.document}",
            fix=f"choose another study name, or amend this study: vjepa-stress amend {document.study} FILE",
        )
    if document.parent is not None or document.version != "v1":
        raise NoSuccessor(
            f"the parent of the amendment does not exist: {document.study} is not registered",
            where="version and parent",
            expected="v1 without a parent",
            found=f"{document.version}, parent {document.parent or 'none'}",
            fix="register v1 first",
        )
    check_outputs(root, document.study)


def extend(
    root: StudyRoot, document: Preregistration, clip_manifests: Mapping[str, bytes]
) -> tuple[Digest, Checkpoint]:
    """Freeze the next document of a registered study: a withdrawal if it only withdraws, else an amendment.

    Args:
        root: the study root.
        document: the document.
        clip_manifests: bytes of the clip manifests that are not on the disk yet, by data set.

    Returns:
        The digest of the document and the new checkpoint.

    Raises:
        NotRegistered: when the ledger does not have the study.
        NoSuccessor, DuplicateIdentifier: when the document is not a valid next version.
        StatusTooEarly: when the ledger rules out its data status.
        Tampered: when the documents of the study cannot be verified.
    """
    before = load(root, document.study)
    parent = before.lineage[-1]
    check_next(before, document)
    changed = changed_paths(parent.document, document)
    assert document.amendment is not None  # noqa: S101  # it has a parent
    more = {"parent": document.parent, "reason": document.amendment.reason, "changed": changed}

    def check(view: LedgerView) -> None:
        # Another process may have amended the study meanwhile.
        registration = load(root, document.study, view)
        newest = registration.lineage[-1]
        check_follows(newest.document, newest.digest, document)
        # A look that was removed from the ledger would allow a data status that is too early.
        check_shown(root.outputs(document.study, registration.root_digest), view, document.study)
        data_status.check(root, view, document, clip_manifests, parent.document)

    event = Withdrawn if is_withdrawal(parent.document, document) else Amended
    return _freeze(root, event, document, clip_manifests, more, check)


def check_next(before: Registration, document: Preregistration) -> None:
    """Refuse a document that cannot be the next of a study. The data status is not checked.

    Raises:
        NoSuccessor, DuplicateIdentifier: see `extend`.
    """
    check_follows(before.document, before.digest, document)
    check_claims([edition.document for edition in before.lineage], document)
    _check_pins(before, document)


def _freeze(
    root: StudyRoot,
    event: type[DocumentLeaf],
    document: Preregistration,
    clip_manifests: Mapping[str, bytes],
    more: Mapping[str, object],
    check: Callable[[LedgerView], None],
) -> tuple[Digest, Checkpoint]:
    path = root.document(document.study, document.version)
    data = check_round_trip(document, path)
    digest = sha256(data)

    def prepare(view: LedgerView) -> None:
        check(view)
        # An interrupted registration leaves the same file. A different file may be from a removed registration.
        if path.is_file() and (existing := sha256(path.read_bytes())) != digest:
            raise DocumentTampered(
                f"another {document.version} of {document.study} exists and is not in the ledger",
                where=path,
                expected=digest,
                found=existing,
                fix="restore the ledger that lists it from a copy; if it was never registered, move it away",
            )
        write_durably(path, data)
        for name, manifest in clip_manifests.items():
            write_durably(root.clips(document.study, name, sha256(manifest)), manifest)

    _, checkpoint = ledger.append(
        root,
        event,
        study=document.study,
        document=digest,
        version=document.version,
        data_status=document.data_status,
        hypotheses=[hypothesis.id for hypothesis in document.hypotheses],
        **more,
        prepare=prepare,
    )
    return digest, checkpoint


def _check_pins(before: Registration, document: Preregistration) -> None:
    """Refuse a digest other than the one that the first launch pinned, if the specification is unchanged."""
    for field, entries in document.design.identities.items():
        known = before.document.design.identities.get(field, {})
        for name, entry in entries.items():
            if name not in known or known[name].spec != entry.spec or known[name].digest:
                continue
            expected, found = before.pinned(field, name), entry.digest
            if expected and found and expected != found:
                raise NoSuccessor(
                    f"the {field} of {name} differ from those that the first launch pinned",
                    where=f"design, {name}",
                    expected=expected,
                    found=found,
                    fix="restore the pinned ones, or give the new ones another name",
                )


def load(root: StudyRoot, study: str, view: LedgerView | None = None) -> Registration:
    """Load a registered study with all its documents. Bytes are verified before they are parsed.

    Raises:
        LedgerTampered: when the ledger cannot be verified, a document is not a valid next version, or there are
            outputs of a registration that is not in the ledger.
        NotRegistered: when the ledger does not have the study.
        DocumentTampered: when the bytes differ from the registered ones.
    """
    check_study_name(study)
    view = view or ledger.read(root)
    leaves = view.of(study, DocumentLeaf)
    if not any(isinstance(leaf, Registered) for leaf in leaves):
        check_outputs(root, study)
        studies = sorted({leaf.study for leaf in view.leaves})
        drafts = sorted(path.parent.name for path in root.prereg.glob("*/draft.yaml"))
        step = f"register prereg/{study}/draft.yaml" if study in drafts else f"new {study}"
        raise NotRegistered(
            f"the study {study} is not registered in this study root",
            where=root.ledger,
            found=f"the studies {', '.join(studies)}" if studies else "an empty ledger",
            fix=(None if study in drafts else did_you_mean(study, sorted({*studies, *drafts})))
            or f"vjepa-stress {step}",
        )
    lineage: list[Edition] = []
    for leaf in leaves:
        edition = _open(root, leaf)
        _check_links(root, edition, lineage)
        lineage.append(edition)
    check_outputs(root, study, root.outputs(study, lineage[0].digest))
    return Registration(tuple(lineage), view)


def _open(root: StudyRoot, leaf: DocumentLeaf) -> Edition:
    path = root.document(leaf.study, leaf.version)
    data = path.read_bytes() if path.is_file() else None
    if data is None or sha256(data) != leaf.document:
        raise DocumentTampered(
            "the preregistration document differs from the registered one",
            where=path,
            expected=leaf.document,
            found="no such file" if data is None else sha256(data),
            fix="restore the registered file from a copy; to change a registration, amend it",
        )
    return Edition(from_bytes(data, path), sha256(data), leaf)


def _check_links(root: StudyRoot, edition: Edition, before: Sequence[Edition]) -> None:
    """Check that a document and its leaf name the previous document as their parent."""
    document, leaf = edition.document, edition.leaf
    parent = before[-1].digest if before else None
    version = next_version(before[-1].document.version) if before else document.version
    for field, expected, found in (
        ("event", not before, isinstance(leaf, Registered)),
        ("study", leaf.study, document.study),
        ("parent", parent, leaf.parent if isinstance(leaf, Revision) else None),
        ("parent", parent, document.parent),
        ("version", version, document.version),
        ("version", version, leaf.version),
    ):
        if expected != found:
            raise LedgerTampered(
                f"the documents of {leaf.study} are not consecutive versions: unexpected {field}",
                where=f"{root.ledger}, line {leaf.seq + 1}, {document.version}",
                expected=expected,
                found=found,
                fix="restore the ledger and the documents from a copy",
            )
