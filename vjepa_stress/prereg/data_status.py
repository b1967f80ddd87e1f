"""The earliest data status that a document can claim: the ledger knows which clips were used and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from vjepa_stress.digest import Digest, parse_json
from vjepa_stress.errors import StatusTooEarly
from vjepa_stress.fields import DataStatus
from vjepa_stress.ledger import Execution, LedgerView, Viewed
from vjepa_stress.prereg import clips
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.study_root import StudyRoot

ORDER: tuple[DataStatus, ...] = get_args(DataStatus)


def latest(*statuses: DataStatus) -> DataStatus:
    """The one that admits the most knowledge of the data."""
    return max(statuses, key=ORDER.index)


def floor(
    root: StudyRoot, view: LedgerView, document: Preregistration, manifests: Mapping[str, bytes]
) -> tuple[DataStatus, str]:
    """The earliest status a document can claim, and the event that says so.

    Clips are known by their digests and by those of their sources, so that other frames of a video are still that
    video; a data set whose clips are not pinned yet, by its specification.

    Args:
        manifests: clip manifests that are not on the disk yet, by data set.

    Raises:
        IdentityChanged: when a clip manifest that the ledger or the document names is missing or changed.
    """
    known: set[str] = set()
    unpinned: set[str] = set()
    for name, entry in document.design.datasets.items():
        if entry.clip_manifest_digest is None:
            unpinned.add(entry.spec_digest)
        else:
            known |= _clips(root, document.study, name, entry.clip_manifest_digest, manifests.get(name))
    used = [leaf for leaf in view.leaves if isinstance(leaf, Execution) and _used(root, leaf, known, unpinned)]
    if not used:
        return "before-creation", "no launch used its clips"
    for leaf in view.leaves:
        if isinstance(leaf, Viewed) and any(one.study == leaf.study and one.seq < leaf.seq for one in used):
            return "after-analysis", f"line {leaf.seq + 1}: results of these clips in {leaf.study} were looked at"
    return "before-observation", f"line {used[0].seq + 1}: a launch of {used[0].study} used these clips"


def _used(root: StudyRoot, leaf: Execution, known: set[str], unpinned: set[str]) -> bool:
    """Whether a launch used one of these clips, or data of one of these specifications."""
    if "clips" not in leaf.identities:
        return True  # it does not say what it used: the benefit of the doubt is not the author's
    launched = (_clips(root, leaf.study, name, digest) for name, digest in leaf.bound("clips").items())
    return bool(unpinned & set(leaf.specs.values())) or any(known & one for one in launched)


def _clips(root: StudyRoot, study: str, dataset: str, digest: Digest, data: bytes | None = None) -> set[str]:
    """Digests of a manifest's clips and sources. No more of it is read than this, once its bytes are verified."""
    path = root.clips(study, dataset, digest)
    listed = parse_json(clips.verified(path, digest, data), path)["clips"]
    return {clip[key] for clip in listed for key in ("digest", "source")}


def check(
    root: StudyRoot,
    view: LedgerView,
    document: Preregistration,
    manifests: Mapping[str, bytes],
    parent: Preregistration | None = None,
) -> None:
    """Refuse a status earlier than the floor, or than the parent's.

    Raises:
        StatusTooEarly: naming the event that rules it out.
    """
    lowest, because = floor(root, view, document, manifests)
    if parent is not None and latest(lowest, parent.data_status) != lowest:
        lowest, because = parent.data_status, f"{parent.version} says so, and knowledge only grows"
    if latest(document.data_status, lowest) != document.data_status:
        raise StatusTooEarly(
            f"nobody can claim {document.data_status} any more",
            where="data_status",
            expected=" or ".join(ORDER[ORDER.index(lowest) :]),
            found=f"{document.data_status}; {because}",
            todo=f"write data_status: {lowest}",
        )
