"""A small real study: real commands, real encoder, rendered clips."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_stress.cli import main
from vjepa_stress.prereg import freeze
from vjepa_stress.study_root import StudyRoot

HERE = Path(__file__).parent
CONF = HERE / "conf"
PLUGINS = HERE / "plugins"
CELLS = 16


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*words: str | Path) -> Done:
    """Run a command in this process, through the same entry as the console script."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Done(code, out.getvalue(), err.getvalue())


def start(*words: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start the real command."""
    return subprocess.Popen(
        [sys.executable, "-m", "vjepa_stress", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def shell(*words: str | Path, **environment: str) -> Done:
    """Run the real command to its end."""
    process = start(*words, **environment)
    out, err = process.communicate(timeout=600)
    return Done(process.returncode, out, err)


def calibration(dataset: str) -> str:
    """The draft on another data set, with only its calibration: no rule reads an interval, so few clips will do."""
    text = (HERE / "draft.yaml").read_text().replace("[small]", f"[{dataset}]")
    head, rest = text.partition("  - id: H1")[0], "acknowledged:" + text.partition("acknowledged:")[2]
    kept = [line for line in rest.splitlines(keepends=True) if not any(name in line for name in ("H1", "H2"))]
    return head + "".join(kept)


def new_root(folder: Path, draft: str | None = None) -> StudyRoot:
    """A study root with the small study's draft, or another one, not registered yet."""
    place = folder / "prereg" / "small"
    place.mkdir(parents=True)
    (place / "draft.yaml").write_text(draft or (HERE / "draft.yaml").read_text())
    return StudyRoot(folder)


def register(root: StudyRoot, *more: str) -> Done:
    """Register the small study."""
    draft = root.prereg / "small" / "draft.yaml"
    return command("register", "--root", root.path, draft, "--config-dir", CONF, "--json", *more)


def registered(folder: Path) -> StudyRoot:
    """The calibration on three clips, registered and not run."""
    root = new_root(folder, calibration("few"))
    done = register(root)
    assert done.code == 0, done.err
    return root


def run(root: StudyRoot, *more: str) -> Done:
    """Run what is missing of the small study."""
    # One thread: models this small gain nothing from more, and the machine may be busy with other tests.
    threads = () if any(word.startswith("exec.threads") for word in more) else ("exec.threads=1",)
    return command("run", "small", "--root", root.path, "--config-dir", CONF, "--json", *more, *threads)


def finished(folder: Path, draft: str | None = None) -> StudyRoot:
    """A small study, registered, run, judged and reported."""
    root = new_root(folder, draft)
    for done in (
        register(root),
        run(root),
        command("verdict", "--root", root.path, "small"),
        command("report", "--root", root.path, "small"),
    ):
        assert done.code == 0, done.err
    return root


def copied(root: StudyRoot, folder: Path) -> StudyRoot:
    """A copy to be attacked."""
    shutil.copytree(root.path, folder)
    return StudyRoot(folder)


def outputs(root: StudyRoot) -> Path:
    """The small study's output folder."""
    return root.outputs("small", freeze.load(root, "small").root_digest)


def cells(root: StudyRoot, attempt: int = 1) -> Path:
    """The folder of an attempt's cells."""
    return outputs(root) / "attempts" / str(attempt) / "cells"


def contents(root: StudyRoot, attempt: int = 1) -> dict[str, str]:
    """Content digest of every cell."""
    return {
        path.parent.name: json.loads(path.read_text())["content_digest"]
        for path in sorted(cells(root, attempt).glob("*/manifest.json"))
    }


def amended(text: str, version: str = "v2", status: str = "after-analysis") -> str:
    """A draft as an amendment: its next version, with a block that says why."""
    text = text.replace("version: v1\n", f"version: {version}\n")
    return text.replace("before-creation", status) + (HERE / "amendment.yaml").read_text()


def amend(root: StudyRoot, draft: str, *more: str) -> Done:
    """Amend the small study with a draft."""
    path = root.prereg / "small" / "amendment.yaml"
    path.write_text(draft)
    return command("amend", "small", path, "--root", root.path, "--config-dir", CONF, "--json", *more)


def withdraw(root: StudyRoot, name: str, *more: str) -> Done:
    """Withdraw a part of the small study."""
    return command("withdraw", "small", name, "--why", "It was ill-posed.", "--root", root.path, "--json", *more)
