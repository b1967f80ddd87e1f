"""The audit: the gate once more, the verdict recomputed, and what lies on the disk compared with both.

Reads only, and needs no torch.
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
"""How far a recomputed number may lie from the stored one: another machine may sum in another order."""


@dataclass(frozen=True)
class Audit:
    """What an audit established.

    Attributes:
        checks: what was checked, in order; a check that fails is an error instead.
        verdicts: outcomes by hypothesis; empty until somebody has looked, because a look must be logged.
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
    """The tier that local files can prove: every result chains to the registration through the ledger."""
    return "declared" if evidence.objections else "chained"


def audit(root: StudyRoot, study: str) -> Audit:
    """Verify a study from its files alone.

    Raises:
        Tampered: when anything fixed has changed, a stored verdict differs from the recomputed one, or a report
            is not the one that was logged.
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
    # An audit logs nothing: what nobody has seen yet, it must not show.
    seen = bool(view.of(study, Viewed))
    if not seen:
        notices.append(f"nobody has looked yet; to show the verdict and log the look: vjepa-stress verdict {study}")
    return Audit(
        study,
        established_tier(evidence),
        view.checkpoint(),
        verdict.version,
        evidence.registration.digest,
        tuple(f"{edition.document.version} {edition.digest}" for edition in evidence.registration.lineage),
        evidence.attempt,
        len(evidence.cells),
        {one.id: one.verdict for one in verdict.hypotheses} if seen else {},
        evidence.deviations,
        tuple(checks),
        tuple(notices),
    )


def studies(root: StudyRoot, view: LedgerView) -> list[str]:
    """All registered studies.

    Raises:
        NotRegistered: when there is none.
        LedgerTampered: when there are outputs of others.
    """
    found = [leaf.study for leaf in view.leaves if isinstance(leaf, Registered)]
    outputs = root.path / "outputs"
    for folder in sorted(outputs.iterdir()) if outputs.is_dir() else ():
        if folder.name not in found and folder.is_dir():
            check_outputs(root, folder.name)
    if not found:
        raise NotRegistered("no study is registered here", fix="vjepa-stress register prereg/STUDY/draft.yaml")
    return found


def _check_verdict(root: StudyRoot, recomputed: StudyVerdict, view: LedgerView) -> list[str]:
    """Compare the stored verdict with the evidence it was made from; say so when there is more by now."""
    path, notices = recomputed.file(root), []
    try:
        value = parse_json(path.read_bytes(), path)
        stored = validate(StudyVerdict, value, path)
    except BadDocument as error:
        raise ResultTampered("the stored verdict does not match its schema", where=path, found=str(error)) from error
    if stored.ledger_checkpoint != recomputed.ledger_checkpoint:
        seen = Checkpoint(stored.ledger_checkpoint.size, stored.ledger_checkpoint.root)
        if not view.contains(seen):
            raise ResultTampered(
                "the stored verdict's checkpoint is not a prefix of this ledger",
                where=path,
                expected=view.checkpoint().short,
                found=seen.short,
            )
        recomputed = evaluate(gate(root, stored.study, as_of=seen.size))
        notices.append(
            f"{path}: more has happened since this verdict; update it: vjepa-stress verdict {stored.study}"
        )
    # The code that judges now may be newer than the code that judged; its digest is informative.
    mine = parse_json(recomputed.to_bytes())
    for where, expected, found in _differences("", mine, value | {"judging_code": mine["judging_code"]}):
        raise ResultTampered(
            "the stored verdict is not what the evidence gives",
            where=f"{path}{where}",
            expected=expected,
            found=found,
            fix=f"vjepa-stress verdict {recomputed.study}",
        )
    return notices


def _differences(where: str, mine: Any, stored: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: words and counts exactly, other numbers beyond rounding."""
    if isinstance(mine, float) or isinstance(stored, float):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (mine, stored))
        if not numbers or not math.isclose(mine, stored, rel_tol=_RELATIVE, abs_tol=1e-15):
            yield where, mine, stored
    elif isinstance(mine, dict) and isinstance(stored, dict) and mine.keys() == stored.keys():
        for key in mine:
            yield from _differences(f", {key}" if not where else f"{where}.{key}", mine[key], stored[key])
    elif isinstance(mine, list) and isinstance(stored, list) and len(mine) == len(stored):
        for position, (one, other) in enumerate(zip(mine, stored, strict=True)):
            yield from _differences(f"{where}[{position}]", one, other)
    elif mine != stored:
        yield where, mine, stored


def _check_viewed(root: StudyRoot, evidence: Evidence) -> list[str]:
    """Compare what was shown last, file by file, with the digests of its `viewed` leaf."""
    document = evidence.registration.document
    folder = root.outputs(document.study, evidence.registration.root_digest)
    known = logged(evidence.registration.ledger, document.study)
    latest = {name: digests[-1] for name, digests in known.items()}
    for name, expected in sorted(latest.items()):
        path = folder / name
        found = sha256(path.read_bytes()) if path.is_file() else None
        if found not in (None, expected):
            raise ResultTampered(
                "a file is not the one that was written and logged",
                where=path,
                expected=expected,
                found=found,
                fix=f"vjepa-stress verdict {document.study} && vjepa-stress report {document.study}",
            )
    return [name for name in sorted(latest) if (folder / name).is_file()]
