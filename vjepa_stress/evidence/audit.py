"""The audit: run the gate, recompute the verdict, and compare both with the files on the disk.

It only reads, and does not need torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from vjepa_stress.digest import parse_json, sha256
from vjepa_stress.errors import BadDocument, NotRegistered, ResultTampered
from vjepa_stress.ledger import Checkpoint, LedgerView, Registered, Viewed
from vjepa_stress.prereg.schema import validate
from vjepa_stress.prereg.traces import check_outputs, logged
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.evaluate import StudyVerdict, evaluate
from vjepa_stress.verdict.gate import CheckResult, Deviation, Evidence, gate

Tier = Literal["declared", "chained", "signed", "externally anchored"]

_RELATIVE = 1e-9
"""Relative tolerance between recomputed and stored numbers: another machine may sum in another order."""


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        checks: the checks that passed, in order. A check that fails raises an error.
        verdicts: outcomes by hypothesis; empty before the first look, because every look must be logged.
    """

    study: str
    tier: Tier
    checkpoint: Checkpoint
    version: str
    prereg_digest: str
    lineage: tuple[str, ...]
    attempt: int
    cells: int
    verdicts: dict[str, str]
    deviations: tuple[Deviation, ...]
    checks: tuple[CheckResult, ...]
    notices: tuple[str, ...]


def established_tier(evidence: Evidence) -> Tier:
    """The tier that local files prove. In tier `chained`, the ledger links every result to the registration."""
    return "declared" if evidence.objections else "chained"


def audit(root: StudyRoot, study: str) -> Audit:
    """Verify a study from its files alone.

    Raises:
        Tampered: when a frozen or logged file has changed, or a stored verdict differs from the recomputed one.
        NotEvaluable: when the evidence is intact but incomplete or invalid.
    """
    evidence = gate(root, study)
    verdict = evaluate(evidence)
    checks = list(evidence.checks)
    view = evidence.registration.ledger
    notices = list(view.notices)
    if verdict.file(root).exists():
        notices += _check_verdict(root, verdict, view)
        checks.append(CheckResult("verdict", "verdict.json, and the evidence it is recomputed from", 0))
    for name in _check_viewed(root, evidence):
        checks.append(CheckResult(name, "the file, and the digest that its last look logged", 0))
    # An audit logs nothing, so it must not show results before the first look.
    was_viewed = bool(view.of(study, Viewed))
    if not was_viewed:
        notices.append(f"no look is logged yet; to show the verdict and log the look: vjepa-stress verdict {study}")
    return Audit(
        study,
        established_tier(evidence),
        view.checkpoint(),
        verdict.version,
        evidence.registration.digest,
        tuple(f"{edition.document.version} {edition.digest}" for edition in evidence.registration.lineage),
        evidence.attempt,
        len(evidence.cells),
        {one.id: one.verdict for one in verdict.hypotheses} if was_viewed else {},
        evidence.deviations,
        tuple(checks),
        tuple(notices),
    )


def studies(root: StudyRoot, view: LedgerView) -> list[str]:
    """All registered studies.

    Raises:
        NotRegistered: when no study is registered.
        LedgerTampered: when there are outputs of a study that is not registered.
    """
    registered = [leaf.study for leaf in view.leaves if isinstance(leaf, Registered)]
    outputs = root.path / "outputs"
    for folder in sorted(outputs.iterdir()) if outputs.is_dir() else ():
        if folder.name not in registered and folder.is_dir():
            check_outputs(root, folder.name)
    if not registered:
        raise NotRegistered(
            "no study is registered in this study root",
            where=root.ledger,
            fix="vjepa-stress register prereg/STUDY/draft.yaml",
        )
    return registered


def _check_verdict(root: StudyRoot, recomputed: StudyVerdict, view: LedgerView) -> list[str]:
    """Compare the stored verdict with its evidence. Return a notice when the ledger has newer evidence."""
    path, notices = recomputed.file(root), []
    try:
        value = parse_json(path.read_bytes(), path)
        stored = validate(StudyVerdict, value, path)
    except BadDocument as error:
        raise ResultTampered(
            "the stored verdict does not match its schema",
            where=path,
            found=str(error),
            fix=f"vjepa-stress verdict {recomputed.study}",
        ) from error
    if stored.ledger_checkpoint != recomputed.ledger_checkpoint:
        checkpoint = Checkpoint(stored.ledger_checkpoint.size, stored.ledger_checkpoint.root)
        if not view.contains(checkpoint):
            raise ResultTampered(
                "the checkpoint of the stored verdict is not a prefix of this ledger",
                where=path,
                expected=view.checkpoint().short,
                found=checkpoint.short,
                fix="restore the ledger from a copy",
            )
        recomputed = evaluate(gate(root, stored.study, as_of=checkpoint.size))
        notices.append(
            f"{path}: the ledger has newer events than this verdict; to update it: "
            f"vjepa-stress verdict {stored.study}"
        )
    # The judging code may have changed since the verdict; its digest is informative.
    current = parse_json(recomputed.to_bytes())
    for where, expected, found in _differences("", current, value | {"judging_code": current["judging_code"]}):
        raise ResultTampered(
            "the stored verdict differs from the recomputed verdict",
            where=f"{path}{where}",
            expected=expected,
            found=found,
            fix=f"vjepa-stress verdict {recomputed.study}",
        )
    return notices


def _differences(where: str, current: Any, stored: Any) -> Iterator[tuple[str, Any, Any]]:
    """Differences between two JSON values. Floats are compared with a tolerance, all other values exactly."""
    if isinstance(current, float) or isinstance(stored, float):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (current, stored))
        if not numbers or not math.isclose(current, stored, rel_tol=_RELATIVE, abs_tol=1e-15):
            yield where, current, stored
    elif isinstance(current, dict) and isinstance(stored, dict) and current.keys() == stored.keys():
        for key in current:
            yield from _differences(f", {key}" if not where else f"{where}.{key}", current[key], stored[key])
    elif isinstance(current, list) and isinstance(stored, list) and len(current) == len(stored):
        for position, (one, other) in enumerate(zip(current, stored, strict=True)):
            yield from _differences(f"{where}[{position}]", one, other)
    elif current != stored:
        yield where, current, stored


def _check_viewed(root: StudyRoot, evidence: Evidence) -> list[str]:
    """Compare the files of the last looks with the digests in their `viewed` leaves. Return the files present."""
    document = evidence.registration.document
    folder = root.outputs(document.study, evidence.registration.root_digest)
    known = logged(evidence.registration.ledger, document.study)
    latest = {name: digests[-1] for name, digests in known.items()}
    for name, expected in sorted(latest.items()):
        path = folder / name
        found = sha256(path.read_bytes()) if path.is_file() else None
        if found not in (None, expected):
            raise ResultTampered(
                "a file differs from the one that was written and logged",
                where=path,
                expected=expected,
                found=found,
                fix=f"vjepa-stress verdict {document.study} && vjepa-stress report {document.study}",
            )
    return [name for name in sorted(latest) if (folder / name).is_file()]
