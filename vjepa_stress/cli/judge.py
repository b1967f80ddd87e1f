"""Commands that judge what was computed: verdict, report, audit."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.options import Exploratory, Json, Root, Study, study_names
from vjepa_stress.cli.output import Result, Table
from vjepa_stress.cli.parser import command

if TYPE_CHECKING:
    from vjepa_stress.evidence.looks import Look


@command("vjepa-stress verdict mine --strict")
def verdict(
    study: Study,
    strict: Annotated[bool, typer.Option("--strict", help="exit 10 when refuted, 20 when ambiguous")] = False,
    exploratory: Exploratory = False,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Judge every hypothesis by its registered rule.

    Refuses where the evidence is incomplete or has changed. Logs that somebody looked.
    """
    from vjepa_stress.evidence.looks import look_verdict
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.verdict.judge import worst

    look = look_verdict(StudyRoot.find(given=root), study, exploratory=exploratory)
    output.notices(look.evidence.registration.ledger.notices)
    output.print_table(_verdicts(look), sys.stderr)
    outcomes = {one.id: one.verdict for one in look.verdict.hypotheses}
    values = {
        "study": study,
        "verdicts": outcomes,
        "file": str(look.file),
        "exploratory": look.verdict.exploratory,
    }
    code = worst(list(outcomes.values())) if strict else 0
    words = ("--exploratory",) if exploratory else ()
    following = output.next_command("report", study, *words, root=root)
    return Result(values, as_json, exit_code=code, next=following)


def _verdicts(look: Look) -> Table:
    """A row a hypothesis: what was said of it, and what the rule read."""
    from vjepa_stress.report import numbers, words

    rows = []
    hypotheses = look.evidence.registration.document.hypotheses
    for one, hypothesis in zip(look.verdict.hypotheses, hypotheses, strict=True):
        estimates = {name: record.estimate for name, record in one.estimates.items()}
        text = words.explain(one.decision, estimates, numbers.number) if one.decision else words.reason(one)
        rows.append((one.id, words.status(one), f"{hypothesis.title}\n{text}"))
    return Table(("hypothesis", "verdict", "claim"), tuple(rows))


@command("vjepa-stress report mine")
def report(study: Study, exploratory: Exploratory = False, root: Root = None, as_json: Json = False) -> Result:
    """Judge, and write the report.

    It is one HTML page, the same as Markdown, and the figures. Logs that somebody looked.
    """
    from vjepa_stress.evidence.looks import look_report
    from vjepa_stress.study_root import StudyRoot

    look = look_report(StudyRoot.find(given=root), study, exploratory=exploratory)
    output.notices(look.evidence.registration.ledger.notices)
    values = {"study": study, "report": str(look.file)}
    # An audit refuses what an exploratory report looks past.
    following = None if exploratory else output.next_command("audit", study, root=root)
    return Result(values, as_json, next=following)


@command("vjepa-stress audit mine")
def audit(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY",
            help="a registered study; else all",
            autocompletion=study_names,
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Verify everything again, from the files alone.

    Reads only, and needs no torch.
    """
    from vjepa_stress import ledger
    from vjepa_stress.evidence.audit import audit as audit_study
    from vjepa_stress.evidence.audit import studies
    from vjepa_stress.study_root import StudyRoot

    where = StudyRoot.find(given=root)
    results = {}
    for name in [study] if study else studies(where, ledger.read(where)):
        done = audit_study(where, name)
        output.notices(done.notices)
        rows = tuple((check.name, "ok", check.reads) for check in done.checks)
        output.print_table(Table(("check", "result", "reads"), rows), sys.stderr)
        output.say(f"{name}: intact; evidence tier {done.tier}, {len(done.deviations)} deviations")
        results[name] = dataclasses.asdict(done) | {
            "checkpoint": str(done.checkpoint),
            "deviations": [deviation.model_dump() for deviation in done.deviations],
        }
    following = output.next_command("rerun", study, root=root) if study else None
    return Result({"audited": results}, as_json, next=following)
