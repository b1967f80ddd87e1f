"""Commands that create, change and print a registration: new, check, register, amend, withdraw, show."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.options import ConfigDir, Draft, Json, Overrides, Root, Study, Verify, request_of
from vjepa_stress.cli.output import Result, Table
from vjepa_stress.cli.parser import command
from vjepa_stress.errors import BadDocument, BadInput

if TYPE_CHECKING:
    from vjepa_stress.digest import Digest
    from vjepa_stress.ledger import Checkpoint
    from vjepa_stress.prereg.document import Preregistration
    from vjepa_stress.prereg.freeze import Registration
    from vjepa_stress.prereg.scenarios import Plan
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.draft import Draft as DraftDocument
    from vjepa_stress.verdict.check import Finding


@command("vjepa-stress new mine")
def new(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="a new name: a-z, 0-9 and _, for instance mine")],
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Write a commented draft to start from.

    Also writes vjepa-stress.toml, where every setting is commented out. In an empty folder, starts a study root.
    """
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.draft import new_draft
    from vjepa_stress.sweep.settings import write_template

    where = StudyRoot.find_or_start(root)
    path = new_draft(where, study)
    settings = write_template(where)
    output.say("edit the draft: replace every <…>")
    values = {"study": study, "draft": str(path), "settings": str(settings) if settings else None}
    return Result(values, as_json, next=output.next_command("check", path, root=root))


@command("vjepa-stress check prereg/mine/draft.yaml")
def check(
    draft: Draft,
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Check a draft and simulate its scenarios.

    Lists errors, warnings and suggestions, and the frequency of each verdict in the scenarios of the draft. Writes
    nothing.
    """
    done = _examine("check", draft, overrides, config_dir, root)
    document = done.document
    output.say(
        f"the draft can be registered: {len(document.design.cells)} cells, {len(document.hypotheses)} hypotheses"
    )
    simulated = document.operating_characteristics
    values = {
        "study": document.study,
        "findings": [dataclasses.asdict(finding) for finding in done.findings],
        "chances": simulated.model_dump(mode="json")["chances"] if simulated else {},
        "severity": simulated.model_dump(mode="json")["severity"] if simulated else {},
    }
    words = ("register",) if done.before is None else ("amend", document.study)
    following = output.next_command(*words, draft, root=root, config_dir=config_dir)
    return Result(values, as_json, next=None if done.registered else following)


@command("vjepa-stress register prereg/mine/draft.yaml")
def register(
    draft: Draft,
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    verify: Verify = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Freeze a draft: hypotheses, rules and cells.

    Writes prereg/STUDY/v1.json, appends to the ledger, and prints the digest and a checkpoint.
    """
    from vjepa_stress.prereg import freeze

    done = _examine("register", draft, overrides, config_dir, root, verify)
    frozen = freeze.register(done.root, done.document, done.manifests)
    following = output.next_command("run", done.document.study, root=root, config_dir=config_dir)
    return Result(_frozen(done.root, done.document, *frozen), as_json, next=following)


@command("vjepa-stress amend mine prereg/mine/draft.yaml")
def amend(
    study: Study,
    draft: Annotated[
        Path, typer.Argument(metavar="DRAFT", help="a complete draft with the next version and an `amendment`")
    ],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    verify: Verify = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Freeze a draft as a study's next version.

    Earlier versions are kept. Cells that the amendment does not change keep their results.
    """
    from vjepa_stress.prereg import freeze

    done = _examine("amend", draft, overrides, config_dir, root, verify, amends=study)
    frozen = freeze.extend(done.root, done.document, done.manifests)
    following = output.next_command("run", study, root=root, config_dir=config_dir)
    return Result(_frozen(done.root, done.document, *frozen), as_json, next=following)


def _reasons() -> list[str]:
    from typing import get_args

    from vjepa_stress.fields import Reason

    return list(get_args(Reason))


def _reason(value: str) -> str:
    known = _reasons()
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}")
    return value


@command('vjepa-stress withdraw mine H2.ratio --why "ill-posed: it cannot be refuted"')
def withdraw(
    study: Study,
    hypothesis: Annotated[
        str,
        typer.Argument(metavar="HYPOTHESIS", help="its id, such as H2, or H2.ratio for the estimand `ratio` of it"),
    ],
    why: Annotated[str, typer.Option("--why", help="reason, for readers of the registration")],
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            help="kind of reason: unforeseen-event, error-in-registration, missing-information, "
            "violated-assumption or falsified-auxiliary",
            autocompletion=_reasons,
            callback=_reason,
        ),
    ] = "error-in-registration",
    severity: Annotated[str | None, typer.Option("--severity", help="effect on the severity of the tests")] = None,
    validity: Annotated[str | None, typer.Option("--validity", help="effect on the conclusions")] = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Withdraw a hypothesis, or one estimand of it.

    Everything else is judged as registered. The withdrawal is a new version of the registration.
    """
    from vjepa_stress.prereg.withdraw import withdraw as withdraw_part
    from vjepa_stress.study_root import StudyRoot

    where = StudyRoot.find(given=root)
    reasons: dict[str, Any] = {"why": why, "reason": reason, "severity": severity, "validity": validity}
    values = _frozen(where, *withdraw_part(where, study, hypothesis, **reasons))
    return Result(values, as_json, next=output.next_command("status", study, root=root))


def _frozen(root: StudyRoot, document: Preregistration, digest: Digest, checkpoint: Checkpoint) -> dict[str, Any]:
    """Print and return a summary of the frozen document."""
    from vjepa_stress import ledger
    from vjepa_stress.prereg import freeze
    from vjepa_stress.prereg.lineage import changes
    from vjepa_stress.report import words

    view = ledger.read(root)
    leaf = view.leaves[checkpoint.size - 1]
    summary = f"{leaf.event} {document.study} {document.version}: {len(document.design.cells)} cells"
    output.say(f"{summary}; data status {document.data_status}")
    if isinstance(leaf, ledger.Revision):
        before, after = freeze.load(root, document.study, view).lineage[-2:]
        for change in changes(before.document, after.document):
            output.say(f"  {words.change(change)}")
    output.say("keep the checkpoint where nobody can change it: in a signed tag, a paper or an email")
    return {
        "study": document.study,
        "version": document.version,
        "event": leaf.event,
        "data_status": document.data_status,
        "file": str(root.document(document.study, document.version)),
        "digest": digest,
        "checkpoint": str(checkpoint),
    }


@dataclasses.dataclass(frozen=True)
class _Examined:
    """A draft that can be registered.

    Attributes:
        before: the registration that the draft amends; None for a first version.
        registered: this version is already registered.
    """

    root: StudyRoot
    document: Preregistration
    manifests: dict[str, bytes]
    findings: tuple[Finding, ...]
    before: Registration | None
    registered: bool


def _examine(
    action: Literal["check", "register", "amend"],
    path: Path,
    overrides: list[str] | None,
    config_dir: Path | None,
    given: Path | None,
    verify: str | None = None,
    amends: str | None = None,
) -> _Examined:
    """Read a draft and simulate its scenarios; raise where it must not be registered."""
    from vjepa_stress import ledger
    from vjepa_stress.prereg import data_status, freeze
    from vjepa_stress.report import words
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.draft import read_draft, resolve
    from vjepa_stress.verdict.check import read_plan, with_chances

    draft: DraftDocument = read_draft(path)
    root = StudyRoot.find(start=path.resolve().parent, given=given)
    request = request_of(overrides, config_dir, root, verify=verify).without_cell_filter()
    if amends not in (None, draft.study):
        raise BadInput(
            "the draft belongs to another study",
            where=path,
            expected=f"study: {amends}",
            found=f"study: {draft.study}",
            fix=output.next_command("amend", draft.study, path, root=given, config_dir=config_dir),
        )
    # A first registration has no parent, even if the draft has an `amendment`: `register` refuses it below.
    follows = action == "amend" or (action == "check" and draft.amendment is not None)
    before = freeze.load(root, draft.study) if follows else None
    lineage = before.lineage if before else ()
    registered = action == "check" and bool(lineage) and draft.version == lineage[-1].document.version
    if registered:
        output.say(f"notice: {draft.study} {draft.version} is already registered; its draft is checked again")
        before, lineage = None, lineage[:-1]
    parent = lineage[-1] if lineage else None
    document, manifests = resolve(
        draft, request.blocks, request.exec_config, lambda text: output.notices([text]), parent
    )
    freeze.check_round_trip(document, path)
    view = before.ledger if before else ledger.read(root)
    if before is not None:
        freeze.check_next(before, document)
    elif action == "register":
        freeze.check_first(root, view, document)
    # Fail before the simulation, which takes long; freezing checks again under the ledger's lock.
    data_status.check(root, view, document, manifests, parent.document if parent else None)
    for name in document.design.strata(document.design.cells):
        output.say(words.stratum(name, document.design))
    plan = None if draft.operating_characteristics is None else read_plan(draft.operating_characteristics)
    findings = _say_findings(document, plan)
    if plan is not None:
        output.say("simulating studies in each scenario; this takes minutes when there are many estimands")
        document = with_chances(document, plan, root, workers=os.cpu_count() or 1)
        _say_chances(document)
        findings = _say_findings(document, known=findings)
    return _Examined(root, document, manifests, findings, before, registered)


def _say_findings(
    document: Preregistration, plan: Plan | None = None, known: tuple[Finding, ...] = ()
) -> tuple[Finding, ...]:
    """Print the findings that are not `known`; raise where one of them blocks registration."""
    from vjepa_stress.report import words
    from vjepa_stress.verdict.check import check as findings_of

    findings = findings_of(document, plan)
    for finding in findings:
        if finding not in known:
            output.say(words.finding(finding))
    blocking = [finding for finding in findings if finding.blocks]
    if blocking:
        raise BadDocument(
            "this draft cannot be registered",
            where=f"{document.study} {document.version}",
            found=f"{len(blocking)} blocking errors and warnings, listed above",
            fix="correct each error; correct each warning, or list it under `acknowledged` with a reason",
        )
    return findings


def _say_chances(document: Preregistration) -> None:
    """Print the frequency of each verdict, in per cent, with its Monte Carlo error, power curves and severity."""
    import sys

    from vjepa_stress.report import numbers
    from vjepa_stress.report.simulated import SEVERITY, SEVERITY_COLUMNS, severities, size

    simulated = document.operating_characteristics
    if simulated is None:
        return
    rows = [
        (scenario, name, verdict.replace("_", "-"), numbers.chance(chance))
        for scenario, hypotheses in simulated.chances.items()
        for name, chances in hypotheses.items()
        for verdict, chance in chances
        if chance.p > 0
    ]
    output.print_table(Table(("scenario", "hypothesis", "verdict", "frequency"), tuple(rows)), sys.stderr)
    curves = [
        (name, size(one), numbers.chance(one.confirmed)) for name, sizes in simulated.curves.items() for one in sizes
    ]
    if curves:
        output.print_table(Table(("hypothesis", "size", "confirmed"), tuple(curves)), sys.stderr)
    if simulated.severity:
        output.say(SEVERITY)
        output.print_table(Table(SEVERITY_COLUMNS, tuple(severities(simulated))), sys.stderr)


@command("vjepa-stress show mine")
def show(study: Study, root: Root = None, as_json: Json = False) -> Result:
    """Print a registration in words.

    Prints hypotheses, rules, cells and pinned digests, and the differences from the draft.
    """
    from vjepa_stress.prereg import freeze
    from vjepa_stress.report.show import as_text, describe
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.yaml_file import load_yaml

    where = StudyRoot.find(given=root)
    registration = freeze.load(where, study)
    draft = where.prereg / study / "draft.yaml"
    sections = describe(registration, load_yaml(draft) if draft.is_file() else None)
    values = {"study": study, "sections": [dataclasses.asdict(section) for section in sections]}
    parts: list[str | Table] = []
    for section in sections:
        parts.append(as_text([dataclasses.replace(section, table=None)]).rstrip() + ("" if section.table else "\n"))
        if section.table is not None:
            parts += [Table(section.table.columns, section.table.rows), ""]
    return Result(values, as_json, tuple(parts), next=output.next_command("status", study, root=root))
