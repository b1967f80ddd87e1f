"""A wheel and the checkout it was built from are the same code, and say so; a changed file shows."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from vjepa_stress.provenance import code_state

PROJECT = Path(__file__).parents[1]
ASK = "from vjepa_stress.provenance import code_state; print(code_state().model_dump_json())"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built through an sdist as a release would be."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def unpacked(wheel: Path, tmp_path: Path) -> Path:
    """The wheel's files, as an installation has them."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def state(folder: Path) -> dict[str, object]:
    command = [sys.executable, "-P", "-c", ASK]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True
    )
    value: dict[str, object] = json.loads(done.stdout)
    return value


def test_a_wheel_is_the_code_of_its_checkout(unpacked: Path) -> None:
    assert state(unpacked) == {"digest": code_state().digest, "dirty": False, "commit": None}


@pytest.mark.parametrize("file", ["vjepa_stress/metrics/drift.py", "vjepa_stress/conf/metric/M2.yaml"])
def test_an_edited_installation_is_dirty(unpacked: Path, file: str) -> None:
    with (unpacked / file).open("a") as end:
        end.write("# changed\n")
    found = state(unpacked)
    assert found["dirty"]
    assert found["digest"] != code_state().digest


def test_a_wheel_carries_what_it_needs_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    conf = {f"vjepa_stress/{path.relative_to(PROJECT)}" for path in (PROJECT / "conf").rglob("*.yaml")}
    demo = {
        f"vjepa_stress/studies/{path.relative_to(PROJECT / 'prereg')}"
        for path in (PROJECT / "prereg/demo").rglob("*.json")
    }
    pocket = {f"vjepa_stress/encoders/pocket/pocket_{size}.safetensors" for size in "abcd"}
    assert conf | demo | pocket | {"vjepa_stress/py.typed"} <= names
    assert not {name for name in names if not name.startswith("vjepa_stress/")}


@pytest.mark.slow
def test_the_demo_runs_from_a_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "-c", str(PROJECT / "constraints.txt"), f"{wheel}[run]"]
    subprocess.run(install, check=True, cwd=tmp_path)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-m", "vjepa_stress", "demo", "--out", "demo", "--json"],
        cwd=tmp_path, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {"run", "verdict", "report", "audit", "rerun"} <= set(said)
    assert said["rerun"]["same"] == 3
    assert (tmp_path / said["report"]).is_file()
    assert "intact" in done.stderr
    assert list(tmp_path.glob("demo/outputs/demo/*/report.html"))
    assert "uncommitted" not in next(tmp_path.glob("demo/outputs/demo/*/report.md")).read_text()
