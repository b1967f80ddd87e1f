"""Looking at results: pass the gate, evaluate, log the look, write what is shown."""

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
    """What a look showed.

    Attributes:
        evidence: what the gate let through.
        verdict: what the rules say of it.
        file: what to open: `verdict.json`, or the report's page.
    """

    evidence: Evidence
    verdict: StudyVerdict
    file: Path


def look_verdict(root: StudyRoot, study: str, *, exploratory: bool = False) -> Look:
    """Evaluate a study, log the look and write `verdict.json`.

    Args:
        exploratory: evaluate in spite of the gate's objections; the result never says confirmed or refuted.

    Raises:
        Tampered: when anything fixed has changed.
        NotEvaluable: when the evidence does not allow a verdict and the look is not exploratory.
    """
    evidence = gate(root, study, exploratory=exploratory)
    verdict = evaluate(evidence)
    path = verdict.file(root)
    _show(root, evidence, {path: verdict.to_bytes()}, "verdict")
    return Look(evidence, verdict, path)


def look_report(root: StudyRoot, study: str, *, exploratory: bool = False) -> Look:
    """Evaluate a study, log the look and write `verdict.json` and the report with its figures.

    Args:
        exploratory: as for `look_verdict`; every page is stamped.

    Raises:
        Tampered, NotEvaluable: as `look_verdict`.
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
    """Write results, and log that somebody looked: the leaf comes first, so that no look is missing."""
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
