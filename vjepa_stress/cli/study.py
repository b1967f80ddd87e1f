"""Commands that make and change a registration: new, check, register, amend, withdraw."""

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
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.draft import Draft as DraftDocument
    from vjepa_stress.verdict.check import Finding


@command("vjepa-stress new mine")
def new(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="a name of your choice, for instance mine")],
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Write a commented draft to start from."""
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.draft import new_draft
    from vjepa_stress.sweep.settings import write_template

    where = StudyRoot.find_or_start(root)
    path = new_draft(where, study)
    settings = write_template(where)
    output.say("fill in the blanks <…> of the draft")
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

    Says what is wrong with it, and how often each verdict would be given. Changes nothing.
    """
    done = _examine("check", draft, overrides, config_dir, root)
    document = done.document
    output.say(f"{len(document.design.cells)} cells, {len(document.hypotheses)} hypotheses: it can be registered")
    simulated = document.operating_characteristics
    values = {
        "study": document.study,
        "findings": [dataclasses.asdict(finding) for finding in done.findings],
        "chances": simulated.model_dump(mode="json")["chances"] if simulated else {},
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
    """Freeze a draft: hypotheses, rules and cells."""
    from vjepa_stress.prereg import freeze

    done = _examine("register", draft, overrides, config_dir, root, verify)
    frozen = freeze.register(done.root, done.document, done.manifests)
    following = output.next_command("run", done.document.study, root=root, config_dir=config_dir)
    return Result(_frozen(done.root, done.document, *frozen), as_json, next=following)


@command("vjepa-stress amend mine prereg/mine/draft.yaml")
def amend(
    study: Study,
    draft: Annotated[
        Path, typer.Argument(metavar="DRAFT", help="a whole draft with the next version and an `amendment`")
    ],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    verify: Verify = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Freeze a draft as a study's next version."""
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
    hypothesis: Annotated[str, typer.Argument(metavar="HYPOTHESIS", help="H2, or H2.ratio for one estimand of it")],
    why: Annotated[str, typer.Option("--why", help="what is withdrawn and why, for readers")],
    reason: Annotated[
        str, typer.Option("--reason", help="the kind of reason", autocompletion=_reasons, callback=_reason)
    ] = "error-in-registration",
    severity: Annotated[str | None, typer.Option("--severity", help="effect on the severity of the tests")] = None,
    validity: Annotated[str | None, typer.Option("--validity", help="effect on what can be concluded")] = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Withdraw a hypothesis, or one estimand of it.

    The rest is judged as before.
    """
    from vjepa_stress.prereg.withdraw import withdraw as withdraw_part
    from vjepa_stress.study_root import StudyRoot

    where = StudyRoot.find(given=root)
    words: dict[str, Any] = {"why": why, "reason": reason, "severity": severity, "validity": validity}
    values = _frozen(where, *withdraw_part(where, study, hypothesis, **words))
    return Result(values, as_json, next=output.next_command("status", study, root=root))


def _frozen(root: StudyRoot, document: Preregistration, digest: Digest, checkpoint: Checkpoint) -> dict[str, Any]:
    """Say what was frozen."""
    from vjepa_stress import ledger
    from vjepa_stress.prereg import freeze
    from vjepa_stress.prereg.lineage import changes
    from vjepa_stress.report import words

    leaf = ledger.read(root).leaves[checkpoint.size - 1]
    said = f"{leaf.event} {document.study} {document.version}: {len(document.design.cells)} cells"
    output.say(f"{said}; data status {document.data_status}")
    if isinstance(leaf, ledger.Revision):
        before, after = freeze.load(root, document.study).lineage[-2:]
        for change in changes(before.document, after.document):
            output.say(f"  {words.change(change)}")
    output.say("keep the checkpoint where nobody can change it: a signed tag, a paper, a mail")
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
        before: the registration that it is the next document of; None for a first one.
        registered: this version is registered already.
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
    """Read a draft, simulate its scenarios, and stop at what must not be registered."""
    from vjepa_stress import ledger
    from vjepa_stress.prereg import data_status, freeze
    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.draft import read_draft, resolve
    from vjepa_stress.verdict.check import with_chances

    draft: DraftDocument = read_draft(path)
    root = StudyRoot.find(start=path.resolve().parent, given=given)
    request = request_of(overrides, config_dir, root, verify=verify).choosing_nothing()
    if amends not in (None, draft.study):
        raise BadInput("the draft is of another study", where=path, expected=amends, found=draft.study)
    # What is registered for the first time has no parent, whatever it says of itself: `register` refuses it.
    follows = action == "amend" or (action == "check" and draft.amendment is not None)
    before = freeze.load(root, draft.study) if follows else None
    lineage = before.lineage if before else ()
    registered = action == "check" and bool(lineage) and draft.version == lineage[-1].document.version
    if registered:
        output.say(f"notice: {draft.study} {draft.version} is registered; its draft is checked once more")
        before, lineage = None, lineage[:-1]
    parent = lineage[-1] if lineage else None
    document, manifests = resolve(draft, request.blocks, request.place, lambda text: output.notices([text]), parent)
    freeze.check_round_trip(document, path)
    if before is not None:
        freeze.check_next(before, document)
    elif action == "register":
        freeze.check_first(root, ledger.read(root), document)
    # Before scenarios are simulated; what freezes the document asks again under the ledger's lock.
    data_status.check(root, ledger.read(root), document, manifests, parent.document if parent else None)
    findings = _say_findings(document, planned=draft.operating_characteristics is not None)
    if draft.operating_characteristics is not None:
        output.say("simulating studies in each scenario; with many estimands this takes minutes")
        document = with_chances(document, draft.operating_characteristics, root, workers=os.cpu_count() or 1)
        _say_chances(document)
        findings = _say_findings(document, known=findings)
    return _Examined(root, document, manifests, findings, before, registered)


def _say_findings(
    document: Preregistration, known: tuple[Finding, ...] = (), planned: bool = False
) -> tuple[Finding, ...]:
    """Print what `check` finds and is not known yet, and stop at what must not be registered."""
    from vjepa_stress.report import words
    from vjepa_stress.verdict.check import check as findings_of

    findings = findings_of(document, planned=planned)
    for finding in findings:
        if finding not in known:
            output.say(words.finding(finding))
    blocking = [finding for finding in findings if finding.blocks]
    if blocking:
        raise BadDocument(
            "this draft cannot be registered",
            where=f"{document.study} {document.version}",
            found=f"{len(blocking)} errors and warnings, listed above",
            fix="correct errors; acknowledge warnings with a reason",
        )
    return findings


def _say_chances(document: Preregistration) -> None:
    """Print how often each verdict would be given, in per cent, with its Monte-Carlo error."""
    import sys

    from vjepa_stress.report import numbers

    simulated = document.operating_characteristics
    rows = [
        (scenario, name, word.replace("_", "-"), numbers.chance(one))
        for scenario, hypotheses in (simulated.chances.items() if simulated else ())
        for name, chances in hypotheses.items()
        for word, one in chances
        if one.p > 0
    ]
    output.print_table(Table(("scenario", "hypothesis", "verdict", "how often"), tuple(rows)), sys.stderr)


@command("vjepa-stress show mine")
def show(study: Study, root: Root = None, as_json: Json = False) -> Result:
    """Print a registration in words.

    Its hypotheses and rules, cells, what is pinned, and how the draft differs from it.
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
