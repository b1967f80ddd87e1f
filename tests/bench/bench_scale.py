"""How the cost of a run grows: time with cells and with clips, memory, and planning a study of 10 000 cells.

Times are processor times, on which other load has little effect. Growth is (t₄ − t₂)/(t₂ − t₁) for a pocket model
with one, two and four times the work, from the first clip to the last shard in one process: 2 if the cost is linear.
Memory is the largest resident set of a run in a process of its own, with an idle model, so that the bookkeeping
dominates.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.bench_cells import idle_draft
from tests.bench.bench_sweep import launched
from tests.small import study
from vjepa_stress.sweep.bind import ExecConfig
from vjepa_stress.sweep.commit import assemble
from vjepa_stress.sweep.computation import configure_torch
from vjepa_stress.sweep.worker import work

PEAK = """
import pathlib, resource, sys
from vjepa_stress.cli import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
# ru_maxrss would include the process that this one was forked from.
(peak,) = (line.split()[1] for line in pathlib.Path("/proc/self/status").open() if line.startswith("VmHWM:"))
print(code, used.ru_utime + used.ru_stime, peak, file=sys.stderr)
"""
PLUGIN = "exec.plugins=[idle_encoder]"


def seconds(clips: int, strengths: int) -> float:
    """Processor seconds of a run of pocket_a."""
    with tempfile.TemporaryDirectory() as folder:
        launch, _ = launched(Path(folder), "pocket_a", 64, clips, strengths)
        started = time.process_time()
        work(launch, launch.units(), ExecConfig(weights=Path("weights"), threads=1, device="cpu"))
        assemble(launch)
        return time.process_time() - started


def growth(values: list[tuple[int, int]]) -> float:
    """(t₄ − t₂)/(t₂ − t₁), with medians of three."""
    one, two, four = (statistics.median(seconds(*value) for _ in range(3)) for value in values)
    return (four - two) / (two - one)


def spread(n: int) -> list[float]:
    """Strengths in (0, 1]."""
    return [round((k + 1) / n, 6) for k in range(n)]


def run(words: list[str], **environment: str) -> tuple[float, float]:
    """Processor seconds and largest resident set, in MiB, of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    code, seconds, kibibytes = done.stderr.split()[-3:]
    assert code == "0", done.stderr
    return float(seconds), int(kibibytes) / 1024


def registered(folder: Path, clips: int, strengths: int) -> list[str]:
    """A registered study of an idle model; the options of commands on it."""
    conf = folder / "conf" / "data"
    conf.mkdir(parents=True)
    text = (study.CONF / "data" / "few.yaml").read_text().replace("n_clips: 3", f"n_clips: {clips}")
    (conf / "few.yaml").write_text(text)
    (conf.parent / "model").symlink_to(study.CONF / "model")
    root = study.new_root(folder / "root", idle_draft(spread(strengths)))
    options = ["--root", str(root.path), "--config-dir", str(conf.parent)]
    done = study.command("register", root.prereg / "small" / "draft.yaml", *options, PLUGIN)
    assert done.code == 0, done.err
    return options


def peak(clips: int, strengths: int) -> float:
    """MiB that a run takes at most."""
    with tempfile.TemporaryDirectory() as folder:
        options = registered(Path(folder), clips, strengths)
        _, mebibytes = run(["run", "small", PLUGIN, "exec.workers=1", "exec.threads=1", *options])
        return mebibytes


def large() -> dict[str, float]:
    """Planning and counting 10 002 cells."""
    with tempfile.TemporaryDirectory() as folder:
        options = registered(Path(folder), 3, 3334)
        plan, memory = run(["plan", "small", PLUGIN, *options])
        status, _ = run(["status", "small", *options[:2]])
        return {"cells": 10_002, "plan_seconds": plan, "plan_mebibytes": memory, "status_seconds": status}


def measured() -> dict[str, Any]:
    """Growth, memory, and the large study."""
    configure_torch(1)
    sys.path.insert(0, str(study.PLUGINS))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(study.PLUGINS), os.environ.get("PYTHONPATH", "")])
    seconds(1, 1)  # a warm-up
    return {
        "growth_with_cells": growth([(2, 4), (2, 8), (2, 16)]),
        "growth_with_clips": growth([(2, 4), (4, 4), (8, 4)]),
        "growth_limits": [1.7, 2.3],
        "mebibytes_for_100_clips_over_10": peak(100, 4) - peak(10, 4),
        "mebibytes_for_300_cells_over_12": peak(3, 100) - peak(3, 4),
        "mebibytes_limit": 50,
        "large": large(),
    }
