"""Looks at results: run the gate, evaluate, log the look, write the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vjepa_stress.digest import sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.evidence.audit import established_tier
from vjepa_stress.ledger import Viewed, append
from vjepa_stress.report.page import build
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.evaluate import StudyVerdict, evaluate
from vjepa_stress.verdict.gate import Evidence, gate


@dataclass(frozen=True)
class Look:
    """Result of a look.

    Attributes:
        evidence: the verified evidence.
        verdict: the verdict on it.
        file: the file to open: `verdict.json`, or the HTML report.
    """

    evidence: Evidence
    verdict: StudyVerdict
    file: Path


def look_verdict(root: StudyRoot, study: str, *, exploratory: bool = False) -> Look:
    """Evaluate a study, log the look and write `verdict.json`.

    Args:
        exploratory: evaluate even if the gate has objections. The outcomes are then never confirmed or refuted.

    Raises:
        Tampered: when a frozen or logged file has changed.
        NotEvaluable: when the gate has objections and the look is not exploratory.
    """
    evidence = gate(root, study, exploratory=exploratory)
    verdict = evaluate(evidence)
    path = verdict.file(root)
    _show(root, evidence, {path: verdict.to_bytes()}, "verdict")
    return Look(evidence, verdict, path)


def look_report(root: StudyRoot, study: str, *, exploratory: bool = False) -> Look:
    """Evaluate a study, log the look and write `verdict.json` and the report with its figures.

    Args:
        exploratory: see `look_verdict`. An exploratory report has a stamp.

    Raises:
        Tampered, NotEvaluable: see `look_verdict`.
    """
    evidence = gate(root, study, exploratory=exploratory)
    verdict = evaluate(evidence)
    page = build(evidence, verdict, established_tier(evidence), evidence.registration.ledger.notices)
    folder = verdict.file(root).parent / ("exploratory" if verdict.exploratory else ".")
    files = {(folder / name).resolve(): data for name, data in page.files().items()}
    _show(root, evidence, files | {verdict.file(root): verdict.to_bytes()}, "report")
    return Look(evidence, verdict, (folder / "report.html").resolve())


def _show(
    root: StudyRoot, evidence: Evidence, files: Mapping[Path, bytes], kind: Literal["verdict", "report"]
) -> None:
    """Log a look, then write the results. The leaf is written first, so that no look is missing."""
    study = evidence.registration.document.study
    folder = root.outputs(study, evidence.registration.root_digest).resolve()
    digests = {path.resolve().relative_to(folder).as_posix(): sha256(data) for path, data in files.items()}
    append(
        root,
        Viewed,
        study=study,
        document=evidence.registration.digest,
        look=kind,
        files=digests,
        exploratory=bool(evidence.objections),
    )
    for path, data in files.items():
        write_durably(path, data)
