"""Where jobs run: the settings, processes of joblib, and what the launcher for SLURM makes of SLURM's answers."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.slurm.jobs import killed_job
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.errors import BadConfiguration
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep import slurm
from vjepa_stress.sweep.app import gpu_of
from vjepa_stress.sweep.cores import cores
from vjepa_stress.sweep.request import ARRAYS, PROCESSES, Request, read_request


def test_processes_of_joblib_give_the_same_numbers(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    (root.path / "vjepa-stress.toml").write_text('launcher = "joblib"\n')
    done = study.run(root, "hydra.launcher.n_jobs=2")
    assert done.code == 0, done.err
    assert study.contents(root) == study.contents(lean)


@pytest.mark.slow
def test_a_killed_process_of_joblib_is_named_and_the_next_run_completes(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    done, seconds = killed_job(root, "launcher=joblib", "hydra.launcher.n_jobs=2", "exec.chunks=3")
    assert done.code == 4, done.err
    assert seconds < 30
    assert re.search(r"the process of job \d \(model=tiny\w* chunk=\d/3\) was killed \(exit code SIGKILL", done.err)
    # The other five jobs went on to their end: one clip of one model is missing.
    assert len(study.contents(root)) == study.CELLS // 2
    assert len(list(root.path.rglob("journal/*/*.jsonl"))) == 5
    assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered", "launched", "failed"]
    again = study.run(root)
    assert again.code == 0, again.err
    assert study.contents(root) == study.contents(lean)


def test_presets(tmp_path: Path) -> None:
    root = StudyRoot(tmp_path)
    assert read_request((), None, root).launcher == Request.launcher
    joblib = read_request(("launcher=joblib",), None, root)
    assert (joblib.launcher, joblib.exec_config.workers, joblib.exec_config.threads) == (PROCESSES, 1, 1)
    assert read_request(("launcher=joblib", "exec.threads=2"), None, root).exec_config.threads == 2
    (tmp_path / "vjepa-stress.toml").write_text('launcher = "slurm"\n')
    several = ("exec.chunks=8", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=240")
    request = read_request(several, None, root)
    assert (request.launcher, request.exec_config.chunks) == (ARRAYS, 8)
    assert request.overrides[0] == "launcher=slurm"
    assert read_request(("launcher=local",), None, root).launcher == Request.launcher
    assert read_request((), None, root, "pretrain").training is not None  # which has no launcher


def test_presets_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, conf = StudyRoot(tmp_path), tmp_path / "conf"
    for name, text in {
        "launcher/ours.yaml": "# @package _global_\ndefaults:\n  - override /hydra/launcher: ours\n",
        "hydra/launcher/ours.yaml": "defaults:\n  - vjepa_slurm\npartition: gpu\n",
    }.items():
        (conf / name).parent.mkdir(parents=True)
        (conf / name).write_text(text)
    (tmp_path / "vjepa-stress.toml").write_text('config_dir = "conf"\nlauncher = "ours"\n')
    request = read_request((), None, root)
    assert request.launcher == ARRAYS
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadConfiguration, match="no sbatch"):
        request.verify_launcher("mine")
    (tmp_path / "vjepa-stress.toml").write_text('config_dir = "conf"\nlauncher = "our"\n')
    with pytest.raises(BadConfiguration, match="did you mean ours"):
        read_request((), None, root)


def test_launchers_that_are_not_installed(tmp_path: Path) -> None:
    (tmp_path / "prereg").mkdir()
    program = f"""
import sys
sys.modules["hydra_plugins.hydra_submitit_launcher"] = sys.modules["hydra_plugins.hydra_joblib_launcher"] = None
from vjepa_stress.cli import main
words = "run", "x", "--root", {str(tmp_path)!r}
sys.exit([main([*words, f"launcher={{name}}"]) for name in ("slurm", "joblib")] != [2, 2])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall("fix: (.*)", done.stderr) == [
        f"pip install hydra-{package}-launcher" for package in ("submitit", "joblib")
    ]


def test_cores_of_a_task_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loky.cpu_count", lambda: 8)
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")  # left over; this is not a task
    assert cores() == 8
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert cores() == 3
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    assert cores() == 8
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert cores() == 2


def test_several_gpus_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_of(1, "auto") == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [gpu_of(number, "auto") for number in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert gpu_of(3, "cuda") == "cuda:1"
    assert (gpu_of(3, "cuda:0"), gpu_of(3, "cpu")) == ("cuda:0", "cpu")


_HEADER = "JobID|State|NodeList\n"


@pytest.mark.parametrize(
    ("accounting", "queue", "state", "ended"),
    [
        (None, "7_0|RUNNING\n7_1|RUNNING\n", "RUNNING", None),
        (None, "7_0|CONFIGURING\n", "CONFIGURING", None),
        (None, "7_0|REQUEUE_HOLD\n", "REQUEUE_HOLD", None),
        (None, "7_0|FAILED\n", "FAILED", "FAILED"),
        (None, "8|RUNNING\n", "LOST", "LOST"),  # the controller has forgotten it
        (None, "", "LOST", "LOST"),
        (None, None, "UNKNOWN", None),  # the controller does not answer
        (_HEADER, "7_0|PENDING\n", "PENDING", None),  # the accounting does not know it yet
        (_HEADER + "7_0|CANCELLED by 0|n\n", None, "CANCELLED by 0", "CANCELLED"),
        (_HEADER + "7_[0-3]|PENDING|\n", None, "PENDING", None),
        (_HEADER + "7_0|COMPLETED|n\n7_0.batch|COMPLETED|n\n", None, "COMPLETED", "COMPLETED"),
    ],
)
def test_states_of_tasks(
    monkeypatch: pytest.MonkeyPatch, accounting: str | None, queue: str | None, state: str, ended: str | None
) -> None:
    def answer(command: Sequence[str]) -> str | None:
        return accounting if command[0] == "sacct" else queue

    monkeypatch.setattr(slurm, "_answer", answer)
    watcher = slurm.Watcher()
    watcher.register_job("7_0")
    assert watcher.get_state("7_0") == state
    assert watcher.ended("7_0") == ended
