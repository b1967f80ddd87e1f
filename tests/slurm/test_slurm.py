"""Jobs as tasks of a SLURM array: the same numbers, and a task that dies stops nothing."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.slurm.jobs import killed_job
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.study_root import StudyRoot


def _same_numbers(lean: StudyRoot, folder: Path, chunks: int) -> None:
    root = study.registered(folder)
    done = study.run(root, "launcher=slurm", f"exec.chunks={chunks}", "hydra.launcher.cpus_per_task=1")
    assert done.code == 0, done.err
    assert done.json["complete"]
    assert study.contents(root) == study.contents(lean)
    assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered", "launched", "completed"]
    scripts = list(root.path.rglob("*_submission.sh"))
    assert len(scripts) == 1  # one array
    text = scripts[0].read_text()
    assert f"--array=0-{2 * chunks - 1}%" in text
    assert "--job-name=vjepa-small" in text
    assert "srun --unbuffered" in text
    assert "--cpus-per-task=1 " in text.partition("srun")[2]


def _a_killed_task(lean: StudyRoot, folder: Path) -> None:
    root = study.registered(folder)
    done, seconds = killed_job(root, "launcher=slurm")
    assert done.code == 4, done.err
    assert seconds < 60
    assert "SLURM task " in done.err
    assert "ended without a result (state FAILED); log: " in done.err
    log = done.err.partition("ended without a result (state FAILED); log: ")[2].split()[0]
    assert Path(log).is_file()
    # The other task went on to its end.
    assert len(study.contents(root)) == study.CELLS // 2
    assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered", "launched", "failed"]
    again = study.run(root)
    assert again.code == 0, again.err
    assert (again.json["computed_before"], again.json["complete"]) == (study.CELLS // 2, True)
    assert study.contents(root) == study.contents(lean)


def test_an_array_gives_the_same_numbers(cluster: Path, lean: StudyRoot, tmp_path: Path) -> None:
    _same_numbers(lean, tmp_path / "root", chunks=1)


@pytest.mark.slow
def test_a_killed_task_is_named_and_the_next_run_completes(cluster: Path, lean: StudyRoot, tmp_path: Path) -> None:
    _a_killed_task(lean, tmp_path / "root")


def test_an_array_that_slurm_refuses(cluster: Path, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    done = study.run(root, "launcher=slurm", "hydra.launcher.partition=nowhere")
    assert done.code == 4
    assert "SLURM did not accept the array" in done.err
    assert "invalid partition specified: nowhere" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_with_accounting(accounted: Path, lean: StudyRoot, tmp_path: Path) -> None:
    _same_numbers(lean, tmp_path / "first", chunks=2)
    _a_killed_task(lean, tmp_path / "second")
    listed = subprocess.run(["sacct", "-n", "-X", "-o", "State"], capture_output=True, text=True, check=True).stdout
    assert {"COMPLETED", "FAILED"} <= set(listed.split())


@pytest.mark.slow
def test_an_error_in_a_task_and_a_stopped_run(cluster: Path, lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    done = study.run(root, "launcher=slurm", "hydra.launcher.setup=['export CUDA_VISIBLE_DEVICES=','exit 3']")
    assert done.code == 4
    assert done.err.count("ended without a result (state FAILED)") == 2
    words = ("--root", root.path, "--config-dir", study.CONF, "launcher=slurm")
    process = study.start("run", "small", *words, "hydra.launcher.setup=['sleep 300']")
    while not subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout.strip():
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    waiting = ["squeue", "-h", "-t", "PENDING,RUNNING"]
    assert not subprocess.run(waiting, capture_output=True, text=True, check=True).stdout.strip()
    assert study.run(root).code == 0
    assert study.contents(root) == study.contents(lean)


@pytest.mark.slow
def test_a_preempted_task_is_queued_again(cluster: Path, lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    process = study.start(
        *("run", "--root", root.path, "small", "--config-dir", study.CONF, "exec.threads=1", "launcher=slurm"),
    )
    while not (running := list(root.path.rglob("jobs/*.json"))) and process.poll() is None:
        time.sleep(0.02)
    assert running, process.communicate()[1]
    listed = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=True).stdout
    job = next(line.split()[0] for line in listed.splitlines() if line.endswith("RUNNING"))
    subprocess.run(["scancel", job, "--signal=USR2"], check=True)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert study.contents(root) == study.contents(lean)
    logs = "".join(path.read_text() for path in root.path.rglob("*_log.err"))
    assert "this job is preempted" in logs


def test_without_slurm_nothing_is_logged(lean: StudyRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = study.copied(lean, tmp_path / "root")
    before = len(ledger.read(root).leaves)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").symlink_to(shutil.which("git") or "/usr/bin/git")
    monkeypatch.setenv("PATH", str(folder))
    for more in (("--again",), ("--exploratory", "model=tiny", "perturbation=gaussian_noise", "strength=0.55")):
        done = study.run(root, "launcher=slurm", *more)
        assert done.code == 2
        assert "no sbatch, srun, squeue, scancel" in done.err
        assert "vjepa-stress run small launcher=local" in done.err
        assert "Traceback" not in done.err
        assert len(ledger.read(root).leaves) == before
