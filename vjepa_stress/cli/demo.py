"""`demo`: run the other commands, one after the other, on the study that ships with the package."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from vjepa_stress.cli import judge, output, sweep
from vjepa_stress.cli.options import Json
from vjepa_stress.cli.output import Result
from vjepa_stress.cli.parser import command


@command("vjepa-stress demo --out my-demo")
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="study root to create or continue")] = Path(
        "vjepa-stress-demo"
    ),
    as_json: Json = False,
) -> Result:
    """Run a complete small study.

    Registers, runs, judges, reports, audits and reruns the study that ships with the package, in a new study root.
    """
    from vjepa_stress.sweep.demo import STUDY, prepare

    root = prepare(out).path
    steps: tuple[tuple[str, tuple[str, ...], Callable[[], Result]], ...] = (
        ("run", (), lambda: sweep.run(STUDY, root=root)),
        ("verdict", (), lambda: judge.verdict(STUDY, root=root)),
        ("report", (), lambda: judge.report(STUDY, root=root)),
        ("audit", (), lambda: judge.audit(STUDY, root=root)),
        ("rerun", (), lambda: sweep.rerun(STUDY, root=root)),
    )
    values: dict[str, Any] = {"root": str(root)}
    for name, overrides, step in steps:
        output.say(f"\n$ {shlex.join(['vjepa-stress', name, STUDY, *overrides, '--root', str(root)])}")
        result = step()
        values[name] = result.values
        if not as_json:
            output.show(dataclasses.replace(result, next=None))
    return Result({**values, "report": values["report"]["report"]}, as_json)
