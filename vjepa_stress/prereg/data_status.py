"""The earliest data status that a document can declare, given the launches and looks in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from vjepa_stress.design import Design, kinds
from vjepa_stress.digest import Digest
from vjepa_stress.errors import StatusTooEarly
from vjepa_stress.fields import DataStatus
from vjepa_stress.ledger import Execution, LedgerView, Viewed
from vjepa_stress.prereg import clips
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.study_root import StudyRoot

ORDER: tuple[DataStatus, ...] = get_args(DataStatus)


def latest(*statuses: DataStatus) -> DataStatus:
    """The status with the most knowledge of the data."""
    return max(statuses, key=ORDER.index)


def floor(
    root: StudyRoot, view: LedgerView, document: Preregistration, manifests: Mapping[str, bytes]
) -> tuple[DataStatus, str]:
    """The earliest status that a document can declare, and the reason.

    Units are compared by their keys and by the keys of their sources, so that other frames of a video count as the
    same video. Units that are not pinned yet are compared by the specification of their data set.

    Args:
        root: the study root.
        view: its ledger.
        document: the document that declares a status.
        manifests: bytes of lists of units that are not on the disk yet, by name.

    Raises:
        IdentityChanged: when a list of units that the ledger or the document names is missing or changed.
    """
    design = document.design
    known: frozenset[str] = frozenset()
    unpinned: set[str] = set()
    for name, entry in design.identities[design.units].items():
        if entry.digest is None:
            unpinned.add(entry.spec)
        else:
            known |= _keys(root, design, document.study, name, entry.digest, manifests.get(name))

    def used(leaf: Execution) -> bool:
        if not any(kind.units in leaf.identities for kind in kinds().values()):
            return True  # the launch does not list its units, so it may have used these
        launched = (
            _keys(root, design, leaf.study, name, digest) for name, digest in leaf.bound(design.units).items()
        )
        return bool(unpinned & set(leaf.specs.values())) or any(known & one for one in launched)

    launches = [leaf for leaf in view.leaves if isinstance(leaf, Execution) and used(leaf)]
    if not launches:
        return "before-creation", f"no launch used its {design.units}"
    for leaf in view.leaves:
        if isinstance(leaf, Viewed) and any(one.study == leaf.study and one.seq < leaf.seq for one in launches):
            reason = f"line {leaf.seq + 1}: a look at results of {leaf.study}, which used these {design.units}"
            return "after-analysis", reason
    return (
        "before-observation",
        f"line {launches[0].seq + 1}: a launch of {launches[0].study} used these {design.units}",
    )


def _keys(
    root: StudyRoot, design: Design, study: str, name: str, digest: Digest, data: bytes | None = None
) -> frozenset[str]:
    """Keys of the units of a list and of their sources, after its bytes are verified."""
    return design.known_keys(clips.verified(root.clips(study, name, digest), digest, data))


def check(
    root: StudyRoot,
    view: LedgerView,
    document: Preregistration,
    manifests: Mapping[str, bytes],
    parent: Preregistration | None = None,
) -> None:
    """Refuse a status that is earlier than the floor, or earlier than that of the parent.

    Raises:
        StatusTooEarly: with the reason, such as an event of the ledger.
    """
    lowest, reason = floor(root, view, document, manifests)
    if parent is not None and latest(lowest, parent.data_status) != lowest:
        lowest, reason = parent.data_status, f"{parent.version} declares {parent.data_status}"
    if latest(document.data_status, lowest) != document.data_status:
        raise StatusTooEarly(
            f"the data status {document.data_status} is too early",
            where="data_status",
            expected=" or ".join(ORDER[ORDER.index(lowest) :]),
            found=f"{document.data_status}; {reason}",
            fix=f"write data_status: {lowest}",
        )
