"""Commands that read results: verdict, report, audit, dependence."""

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
    strict: Annotated[
        bool, typer.Option("--strict", help="exit with 10 if a hypothesis is refuted, with 20 if one is ambiguous")
    ] = False,
    exploratory: Exploratory = False,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Judge every hypothesis by its registered rule.

    Refuses when results are incomplete or have changed. Logs a look in the ledger.
    """
    from vjepa_stress.evidence.looks import look_verdict
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.verdict.judge import worst

    look = look_verdict(StudyRoot.find(given=root), study, exploratory=exploratory)
    output.notices(look.evidence.registration.ledger.notices)
    output.print_table(_verdicts(look), sys.stderr)
    outcomes = {hypothesis.id: hypothesis.verdict for hypothesis in look.verdict.hypotheses}
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
    """One row per hypothesis: its verdict, its title, and the estimates that decided."""
    from vjepa_stress.report import numbers, verdicts

    rows = []
    hypotheses = look.evidence.registration.document.hypotheses
    for judged, hypothesis in zip(look.verdict.hypotheses, hypotheses, strict=True):
        estimates = {name: record.estimate for name, record in judged.estimates.items()}
        text = (
            verdicts.explain(judged.decision, estimates, numbers.number, judged.other_levels)
            if judged.decision
            else verdicts.reason(judged)
        )
        beside = (verdicts.looks(judged), verdicts.not_specific(judged), verdicts.agreement(judged))
        lines = filter(None, (hypothesis.title, text, *beside))
        rows.append((judged.id, verdicts.status(judged), "\n".join(lines)))
    return Table(("hypothesis", "verdict", "claim"), tuple(rows))


@command("vjepa-stress report mine")
def report(study: Study, exploratory: Exploratory = False, root: Root = None, as_json: Json = False) -> Result:
    """Judge every hypothesis and write the report.

    Writes one HTML page, the same text as Markdown, and the figures. Logs a look in the ledger.
    """
    from vjepa_stress.evidence.looks import look_report
    from vjepa_stress.study_root import StudyRoot

    look = look_report(StudyRoot.find(given=root), study, exploratory=exploratory)
    output.notices(look.evidence.registration.ledger.notices)
    values = {"study": study, "report": str(look.file)}
    # An audit would refuse the gaps that an exploratory report ignores.
    following = None if exploratory else output.next_command("audit", study, root=root)
    return Result(values, as_json, next=following)


@command("vjepa-stress audit mine")
def audit(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY",
            help="name of a registered study; all studies if omitted",
            autocompletion=study_names,
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Verify registrations and results from their files.

    Writes nothing, and needs no torch.
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
        versions = " ← ".join(line.split()[0] for line in done.lineage)
        output.say(f"{name} ({versions}): intact; evidence tier: {done.tier}; deviations: {len(done.deviations)}")
        results[name] = dataclasses.asdict(done) | {
            "checkpoint": str(done.checkpoint),
            "deviations": [deviation.model_dump() for deviation in done.deviations],
        }
    following = output.next_command("rerun", study, root=root) if study else None
    return Result({"audited": results}, as_json, next=following)


@command("vjepa-stress dependence pilot")
def dependence(study: Study, exploratory: Exploratory = False, root: Root = None, as_json: Json = False) -> Result:
    """Estimate the `dependence` of a scenario from the results of a pilot.

    Prints lines for a draft. Judges the pilot, and logs a look in the ledger.
    """
    from vjepa_stress.evidence.looks import look_verdict
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.verdict.dependence import differing, estimate_dependence

    look = look_verdict(StudyRoot.find(given=root), study, exploratory=exploratory)
    output.notices(look.evidence.registration.ledger.notices)
    design, table = look.evidence.registration.document.design, look.evidence.table
    found = {metric: estimate_dependence(table, design, metric) for metric in design.columns}
    # A unit has cells of one stratum only, such as those of its data set.
    strata = [[cell for cell in table.cells if design.stratum(cell) == one] for one in design.strata(table.cells)]
    factors = dict.fromkeys(factor for cells in strata for factor in differing(cells))
    lines = ["dependence:"]
    for metric, numbers in found.items():
        lines.append(f"  {metric}: {{{', '.join(f'{factor}: {number:.2f}' for factor, number in numbers.items())}}}")
        for factor in factors:
            if factor not in numbers:
                output.say(f"notice: {metric}: these results do not determine {factor}; choose a number yourself")
    return Result({"study": study, "dependence": found}, as_json, ("\n".join(lines),))
