"""The console script: reads arguments, calls one layer, prints what it says. No logic lives here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import secrets
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vjepa_stress import __version__, ledger
from vjepa_stress.digest import Digest, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadDocument, BadInput, MissingExtra, StressError
from vjepa_stress.fields import Reason
from vjepa_stress.ledger import Checkpoint
from vjepa_stress.prereg import data_status, freeze
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.study_root import StudyRoot

if TYPE_CHECKING:
    from vjepa_stress.sweep.app import Request
    from vjepa_stress.verdict.check import Finding

_EXIT = """exit codes: 0 done; 1 a bug; 2 bad usage or input; 3 tampered; 4 the machine gave up;
11 cannot be evaluated; with --strict also 10 some hypothesis refuted, 20 some ambiguous"""

_EXTRAS = {"torch", "hydra", "omegaconf", "av", "jaxtyping", "PIL", "safetensors"}


def say(text: str) -> None:
    """Print for people; machines read standard output."""
    print(text, file=sys.stderr)


def _needs_run(error: ImportError) -> MissingExtra:
    return MissingExtra(
        "this command computes, and needs the extra [run]",
        found=f"no module named {error.name}",
        todo="pip install 'vjepa-stress[run]'",
    )


def _root(args: argparse.Namespace) -> StudyRoot:
    return StudyRoot.find(given=args.root)


def _notices(view: ledger.LedgerView) -> None:
    for notice in view.notices:
        say(f"notice: {notice}")


def _request(
    args: argparse.Namespace, overrides: Sequence[str], multirun: bool = False, application: str = "config"
) -> Request:
    from vjepa_stress.sweep.app import read_request

    chosen = [f"exec.verify={args.verify}"] if getattr(args, "verify", None) else []
    return read_request([*overrides, *chosen], multirun, args.config_dir, application)


def new(args: argparse.Namespace) -> dict[str, Any]:
    """Write a commented draft to start from."""
    from vjepa_stress.sweep.draft import new_draft

    root = StudyRoot.find_or_start(args.root)
    path = new_draft(root, args.study)
    say(f"fill in what stands in <…>, then: vjepa-stress check {path}")
    return {"study": args.study, "draft": str(path)}


def register(args: argparse.Namespace) -> dict[str, Any]:
    """Freeze a draft."""
    root, document, manifests, _ = _checked(args)
    return _promised(root, document, *freeze.register(root, document, manifests))


def amend(args: argparse.Namespace) -> dict[str, Any]:
    """Freeze a draft as the next version of a registered study."""
    root, document, manifests, _ = _checked(args, args.study)
    return _promised(root, document, *freeze.extend(root, document, manifests))


def withdraw(args: argparse.Namespace) -> dict[str, Any]:
    """Withdraw a hypothesis, or one estimand of it; the rest is judged as before."""
    from vjepa_stress.prereg.withdraw import withdraw as withdraw_part

    root = _root(args)
    words = {"why": args.why, "reason": args.reason, "severity": args.severity, "validity": args.validity}
    return _promised(root, *withdraw_part(root, args.study, args.hypothesis, **words))


def _promised(root: StudyRoot, document: Preregistration, digest: Digest, checkpoint: Checkpoint) -> dict[str, Any]:
    """Say what was frozen."""
    leaf = ledger.read(root).leaves[checkpoint.size - 1]
    said = f"{leaf.event} {document.study} {document.version}: {len(document.design.cells)} cells"
    say(f"{said}; data status {document.data_status}")
    for change in leaf.changed if isinstance(leaf, ledger.Revision) else ():
        say(f"  {change}")
    say("keep the checkpoint where nobody can change it: a signed tag, a paper, a mail")
    return {
        "study": document.study,
        "version": document.version,
        "event": leaf.event,
        "data_status": document.data_status,
        "file": str(root.document(document.study, document.version)),
        "digest": digest,
        "checkpoint": str(checkpoint),
    }


def check(args: argparse.Namespace) -> dict[str, Any]:
    """Say what is wrong with a draft, and what its rules would say in each scenario; change nothing."""
    _, document, _, findings = _checked(args)
    say(f"{len(document.design.cells)} cells, {len(document.hypotheses)} hypotheses: it can be registered")
    simulated = document.operating_characteristics
    return {
        "study": document.study,
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "chances": simulated.model_dump(mode="json")["chances"] if simulated else {},
    }


def _checked(
    args: argparse.Namespace, amends: str | None = None
) -> tuple[StudyRoot, Preregistration, dict[str, bytes], tuple[Finding, ...]]:
    """Read a draft, simulate its scenarios, and stop at what must not be registered.

    Args:
        amends: the study that the draft must amend; None where it says so itself.
    """
    from vjepa_stress.sweep.draft import read_draft, resolve
    from vjepa_stress.verdict.check import with_chances

    draft = read_draft(args.draft)
    root = StudyRoot.find(start=args.draft.resolve().parent) if args.root is None else _root(args)
    request = _request(args, args.overrides).choosing_nothing()
    if amends not in (None, draft.study):
        raise BadInput("the draft is of another study", where=args.draft, expected=amends, found=draft.study)
    # What is registered for the first time has no parent, whatever it says of itself: `register` refuses it.
    next_one = amends is not None or (args.command == "check" and draft.amendment is not None)
    before = freeze.load(root, draft.study) if next_one else None
    lineage = before.lineage if before else ()
    if args.command == "check" and lineage and draft.version == lineage[-1].document.version:
        say(f"notice: {draft.study} {draft.version} is registered; its draft is checked once more")
        before, lineage = None, lineage[:-1]
    parent = lineage[-1] if lineage else None
    document, manifests = resolve(draft, request.blocks, request.place, lambda text: say(f"notice: {text}"), parent)
    freeze.check_round_trip(document, args.draft)
    if before is not None:
        freeze.check_next(before, document)
    if args.command == "check":  # the others ask again under the ledger's lock
        ancestor = parent.document if parent else None
        data_status.check(root, ledger.read(root), document, manifests, ancestor)
    findings = _say_findings(document, planned=draft.operating_characteristics is not None)
    if draft.operating_characteristics is not None:
        say("simulating studies in each scenario; with many estimands this takes a minute or two")
        document = with_chances(document, draft.operating_characteristics, root, workers=os.cpu_count() or 1)
        _say_chances(document)
        findings = _say_findings(document, known=findings)
    return root, document, manifests, findings


def _say_findings(
    document: Preregistration, known: tuple[Finding, ...] = (), planned: bool = False
) -> tuple[Finding, ...]:
    """Print what `check` finds beside what is known, and stop at what must not be registered."""
    from vjepa_stress.report import words
    from vjepa_stress.verdict.check import check as findings_of

    findings = findings_of(document, planned=planned)
    for finding in findings:
        if finding not in known:
            say(words.finding(finding))
    blocking = [finding for finding in findings if finding.blocks]
    if blocking:
        raise BadDocument(
            "this draft cannot be registered",
            where=f"{document.study} {document.version}",
            found=f"{len(blocking)} errors and warnings, listed above",
            todo="mend errors; acknowledge warnings with a reason",
        )
    return findings


def _say_chances(document: Preregistration) -> None:
    """Print how often each verdict would be given, in per cent, with its Monte-Carlo error."""
    from vjepa_stress.report import numbers

    simulated = document.operating_characteristics
    for scenario, of_hypotheses in simulated.chances.items() if simulated else ():
        say(f"{scenario}:")
        for name, chances in of_hypotheses.items():
            said = {word.replace("_", "-"): one for word, one in chances if one.p > 0}
            parts = [f"{word} {numbers.chance(one)}" for word, one in said.items()]
            say(f"  {name:12} {', '.join(parts)}")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compute cells."""
    from vjepa_stress.sweep import app

    root = _root(args)
    request = _request(args, args.overrides, args.multirun)
    if args.exploratory:
        return app.explore(root, app.study_of(root, request), request)
    result = app.sweep(root, app.study_of(root, request), request, again=args.again, deviation=args.deviation)
    if result.there + result.computed < result.cells:
        raise app.unfinished(result)
    if result.computed == 0:
        say("nothing to do: every cell that was asked for is there (another attempt: --again)")
    return dataclasses.asdict(result)


def status(args: argparse.Namespace) -> dict[str, Any]:
    """Say what is done."""
    from vjepa_stress.evidence.status import status_of

    return status_of(_root(args), args.study)


def verdict(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Evaluate, or refuse."""
    from vjepa_stress.report import numbers, words
    from vjepa_stress.verdict.evaluate import evaluate
    from vjepa_stress.verdict.gate import gate
    from vjepa_stress.verdict.judge import worst

    root = _root(args)
    evidence = gate(root, args.study, exploratory=args.exploratory)
    _notices(evidence.registration.ledger)
    result = evaluate(evidence)
    path = result.file(root)
    _show(root, args.study, evidence, {path: result.to_bytes()}, "verdict")
    outcomes = {one.id: one.verdict for one in result.hypotheses}
    document = evidence.registration.document
    for one, hypothesis in zip(result.hypotheses, document.hypotheses, strict=True):
        say(f"{one.id:12} {words.status(one):14} {hypothesis.title}")
        estimates = {name: record.estimate for name, record in one.estimates.items()}
        text = words.explain(one.decision, estimates, numbers.number) if one.decision else words.reason(one)
        say(textwrap.indent(text, " " * 13))
    code = worst(list(outcomes.values())) if args.strict else 0
    return {"study": args.study, "verdicts": outcomes, "file": str(path), "exploratory": result.exploratory}, code


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Write the report."""
    from vjepa_stress.evidence.audit import established_tier
    from vjepa_stress.report.page import build
    from vjepa_stress.verdict.evaluate import evaluate
    from vjepa_stress.verdict.gate import gate

    root = _root(args)
    evidence = gate(root, args.study, exploratory=args.exploratory)
    _notices(evidence.registration.ledger)
    result = evaluate(evidence)
    page = build(evidence, result, established_tier(evidence), evidence.registration.ledger.notices)
    folder = result.file(root).parent / ("exploratory" if result.exploratory else ".")
    files = {(folder / name).resolve(): data for name, data in page.files().items()}
    files |= {result.file(root): result.to_bytes()}
    _show(root, args.study, evidence, files, "report")
    return {"study": args.study, "report": str((folder / "report.html").resolve())}


def _show(root: StudyRoot, study: str, evidence: Any, files: dict[Path, bytes], kind: str) -> None:
    """Write results, and log that somebody looked: the leaf comes first, so that no look is missing."""
    folder = root.outputs(study, evidence.registration.root_digest).resolve()
    digests = {path.resolve().relative_to(folder).as_posix(): sha256(data) for path, data in files.items()}
    ledger.append(
        root,
        ledger.Viewed,
        study=study,
        document=evidence.registration.digest,
        look=kind,
        files=digests,
        exploratory=bool(evidence.objections),
    )
    for path, data in files.items():
        write_durably(path, data)


def audit(args: argparse.Namespace) -> dict[str, Any]:
    """Verify everything again."""
    from vjepa_stress.evidence.audit import audit as audit_study
    from vjepa_stress.evidence.audit import studies

    root = _root(args)
    results = {}
    for study in [args.study] if args.study else studies(root, ledger.read(root)):
        done = audit_study(root, study)
        for notice in done.notices:
            say(f"notice: {notice}")
        for check in done.checks:
            say(f"{study}: {check.name} ok ({check.reads})")
        say(f"{study}: intact")
        say(f"{study}: evidence tier {done.tier}, {len(done.deviations)} deviations")
        results[study] = dataclasses.asdict(done) | {
            "checkpoint": str(done.checkpoint),
            "deviations": [deviation.model_dump() for deviation in done.deviations],
        }
    return {"audited": results}


def rerun(args: argparse.Namespace) -> dict[str, Any]:
    """Compute a few cells of a finished study again, and compare; nothing is written."""
    from vjepa_stress.sweep.rerun import TOLERANCE
    from vjepa_stress.sweep.rerun import rerun as compute_again

    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    request = _request(args, args.overrides).choosing_nothing()
    found = compute_again(_root(args), args.study, args.cells, seed, request.blocks, request.place)
    for one in found:
        differs = f"not the same bits, but within {TOLERANCE:g}: the largest difference is {one.largest:.1e}"
        say(f"{one.cell}: {'the same to the last bit' if one.same else differs}")
    return {
        "study": args.study,
        "seed": seed,
        "same": sum(one.same for one in found),
        "close": sum(not one.same for one in found),
        "cells": {str(one.cell): {"same": one.same, "largest_difference": one.largest} for one in found},
    }


def demo(args: argparse.Namespace) -> dict[str, Any]:
    """The whole path on what ships inside."""
    from vjepa_stress.sweep.demo import prepare

    root = prepare(args.out)
    base = ["--root", str(root.path)]
    # Such small models gain nothing from more threads, and numbers do not depend on them.
    threads = f"exec.threads={min(os.cpu_count() or 1, 4)}"
    said: dict[str, Any] = {}
    for words in (
        ["run", *base, "study=demo", threads, "-m"],
        ["verdict", *base, "demo"],
        ["report", *base, "demo"],
        ["audit", *base, "demo"],
        ["rerun", *base, "demo", threads],
    ):
        say(f"\n$ vjepa-stress {' '.join(words)}")
        said[words[0]], code = _perform(_parse(words))
        if not args.json:
            _print(said[words[0]])
        if code:
            raise SystemExit(code)
    return {"root": str(root.path), **said, "report": said["report"]["report"]}


def fetch(args: argparse.Namespace) -> dict[str, Any]:
    """Download a released checkpoint."""
    from vjepa_stress.encoders.fetch import fetch as download
    from vjepa_stress.encoders.released import Released
    from vjepa_stress.sweep.progress import byte_progress

    request = _request(args, args.overrides).choosing_nothing()
    encoder = request.blocks.encoder(args.model)
    if not isinstance(encoder, Released):
        raise BadInput(f"{args.model} has no weights to download", expected="base, large, giant or gigantic")
    store = request.place.weights.expanduser()
    with byte_progress(encoder.file) as progress:
        digest = download(encoder, store, progress=progress)
    return {"file": str(store / encoder.file), "digest": digest}


def pretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Train a small model with V-JEPA 2.1's objective, or go on where a run was cut off."""
    from vjepa_stress.encoders.stored import SHIPPED
    from vjepa_stress.sweep.bind import strictly
    from vjepa_stress.sweep.progress import progress
    from vjepa_stress.sweep.run import choose_device
    from vjepa_stress.training.pretrain import pretrain as train
    from vjepa_stress.training.pretrain import trainable
    from vjepa_stress.training.recipe import Recipe

    request = _request(args, args.overrides, application="pretrain")
    name = request.one_model()
    encoder = trainable(request.blocks.encoder(name), name)
    recipe = strictly(Recipe, request.training or {}, "training")
    device, threads = choose_device(request.place.device), request.place.threads
    with progress(f"training {name}", recipe.steps) as advance:
        done = train(name, encoder, recipe, args.out / name, device, threads=threads, advance=advance)
    if (SHIPPED / encoder.file).is_file():
        say(f"{encoder.file} ships with the package: to use this one, give it a YAML and a file name of its own")
    else:
        say(f"pin this digest as `sha256` in {name}.yaml, and put the file into exec.weights")
    return {"weights": str(done.weights), "digest": done.digest, "log": str(done.log)}


def data(args: argparse.Namespace) -> dict[str, Any]:
    """Look at a data set before a study: prepare, verify or describe it."""
    from vjepa_stress.sweep.collection import Collection

    request = _request(args, args.overrides).choosing_nothing()
    collection = Collection(args.name, request.blocks, request.place, args.frames, args.resolution)
    manifest = collection.manifest(full=args.action == "verify")
    if args.action == "verify":
        return collection.verify(manifest, args.against)
    found = collection.describe(manifest)
    if args.action == "prepare":
        found["clip_manifest"] = str(collection.keep(manifest, args.out))
    if args.action == "prepare" or args.sheet:
        found["contact_sheet"] = str(args.out / f"{args.name}.png")
        collection.draw(manifest, args.out / f"{args.name}.png")
    return found


def _at_least(least: int) -> Callable[[str], int]:
    """A reader of integers that refuses smaller ones; no study can have them either."""

    def read(text: str) -> int:
        value = int(text) if text.lstrip("+-").isdecimal() else None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text} is no integer of at least {least}")
        return value

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vjepa-stress", description="Preregistered robustness studies of video encoders.", epilog=_EXIT
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, does: Callable[[argparse.Namespace], Any], example: str) -> argparse.ArgumentParser:
        text = (does.__doc__ or "").strip()
        one = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}", allow_abbrev=False)
        one.set_defaults(does=does)
        one.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        one.add_argument("--root", type=Path, help="the study root; else the nearest folder upwards with prereg/")
        return one

    def with_overrides(one: argparse.ArgumentParser) -> None:
        one.add_argument("overrides", nargs="*", help="Hydra overrides, for instance exec.threads=2")
        one.add_argument("--config-dir", type=Path, help="a configuration folder of your own, searched last")

    def with_verify(one: argparse.ArgumentParser) -> None:
        text = "read the files of clips again: those that changed (default), or all; the same as exec.verify=…"
        one.add_argument("--verify", choices=["changed", "full"], help=text)

    one = command("demo", demo, "vjepa-stress demo --out my-demo")
    one.add_argument("--out", type=Path, default=Path("vjepa-stress-demo"), help="folder of the demo's study root")
    one = command("new", new, "vjepa-stress new mine")
    one.add_argument("study")
    one = command("register", register, "vjepa-stress register prereg/pocket/draft.yaml")
    one.add_argument("draft", type=Path)
    with_overrides(one)
    with_verify(one)
    one = command("check", check, "vjepa-stress check prereg/demo/draft.yaml")
    one.add_argument("draft", type=Path)
    with_overrides(one)
    one = command("amend", amend, "vjepa-stress amend pocket prereg/pocket/draft.yaml")
    one.add_argument("study")
    one.add_argument("draft", type=Path, help="a whole draft with the next version and an `amendment`")
    with_overrides(one)
    with_verify(one)
    one = command("withdraw", withdraw, 'vjepa-stress withdraw pocket H2.M1 --why "ill-posed: it cannot be refuted"')
    one.add_argument("study")
    one.add_argument("hypothesis", help="H2, or H2.M1 for one estimand of it")
    one.add_argument("--why", required=True, help="what is withdrawn and why, for readers")
    one.add_argument("--reason", choices=get_args(Reason), default="error-in-registration")
    one.add_argument("--severity", help="effect on how severely the claims are tested")
    one.add_argument("--validity", help="effect on what can be concluded")
    one = command("run", run, "vjepa-stress run study=demo -m")
    with_overrides(one)
    with_verify(one)
    one.add_argument("-m", "--multirun", action="store_true", help="one Hydra job a model, or a combination listed")
    one.add_argument("--again", action="store_true", help="start another attempt; the first complete one counts")
    one.add_argument("--deviation", metavar="WHY", help="record why an attempt goes on with changed code")
    one.add_argument("--exploratory", action="store_true", help="compute cells beside the design; never judged")
    one = command("status", status, "vjepa-stress status demo")
    one.add_argument("study")
    for name, does in (("verdict", verdict), ("report", report)):
        one = command(name, does, f"vjepa-stress {name} demo")
        one.add_argument("study")
        one.add_argument("--exploratory", action="store_true", help="look in spite of gaps; never says confirmed")
        if does is verdict:
            one.add_argument("--strict", action="store_true", help="exit 10 when refuted, 20 when ambiguous")
    one = command("audit", audit, "vjepa-stress audit demo")
    one.add_argument("study", nargs="?")
    one = command("rerun", rerun, "vjepa-stress rerun demo --cells 3")
    one.add_argument("study")
    with_overrides(one)
    one.add_argument("--cells", type=_at_least(1), default=3, help="how many, chosen at random (default 3)")
    one.add_argument("--seed", type=_at_least(0), help="choose the same cells as an earlier rerun did")
    one = command("data", data, "vjepa-stress data prepare davis exec.data={davis: /path/to/DAVIS}")
    one.add_argument("action", choices=["prepare", "verify", "describe"], help="prepare also writes what it found")
    one.add_argument("name", help="of a data set, as in conf/data")
    with_overrides(one)
    one.add_argument("--frames", type=_at_least(2), default=16, help="frames a clip (default 16)")
    one.add_argument("--resolution", type=_at_least(32), default=384, help="pixels a side (default 384)")
    one.add_argument("--out", type=Path, default=Path(), help="folder for the clip manifest and the contact sheet")
    one.add_argument("--sheet", action="store_true", help="describe: draw the contact sheet too")
    one.add_argument("--against", type=Path, metavar="FILE", help="verify: a clip manifest that prepare wrote")
    one = command("pretrain", pretrain, "vjepa-stress pretrain model=pocket_b exec.threads=1")
    with_overrides(one)
    one.add_argument("--out", type=Path, default=Path("pretrained"), help="folder for checkpoint, log and weights")
    one = command("fetch", fetch, "vjepa-stress fetch base")
    one.add_argument("model")
    with_overrides(one)
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args, rest = parser.parse_known_args(arguments)
    # argparse takes a list of words from one place only; Hydra's overrides may stand anywhere between options.
    if hasattr(args, "overrides"):
        args.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    code: int
    try:
        args = _parse(arguments)
        values, code = _perform(args)
        if args.json:
            print(json.dumps(values, indent=2, default=str))
        else:
            _print(values)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in _EXTRAS:
            return _report_error(_needs_run(error))
        raise
    except StressError as error:
        return _report_error(error)
    except KeyboardInterrupt:
        say("interrupted; what was complete is kept, and the same command goes on from there")
        return 130
    return code


def _perform(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """What a command found, and its exit code, which it may choose."""
    result = args.does(args)
    return result if isinstance(result, tuple) else (result, 0)


def _print(values: dict[str, Any]) -> None:
    """What a command found, a line each; lists and tables are for `--json`."""
    for key, value in values.items():
        if not isinstance(value, dict | list):
            # Text of several lines, as a checkpoint is, can be copied as it stands.
            print(f"{key}:\n{value}" if "\n" in str(value) else f"{key}: {value}")


def _report_error(error: StressError) -> int:
    say(f"{type(error).__name__}: {error}")
    return error.exit_code
