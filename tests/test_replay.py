"""The published numbers under the rules of the replication, and the ten lines of the library page."""

import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.small import study
from vjepa_stress.encoders.released import SIZES
from vjepa_stress.prereg import freeze
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.draft import read_draft

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROJECT / "docs"))
    import replay

    return replay


def test_the_published_outcome(replay: ModuleType) -> None:
    outcomes = {name: verdict.outcome for name, verdict in replay.replay().items()}
    assert outcomes == {
        "C1": "confirmed",
        "H2": "confirmed",
        "H3": "refuted",
        "H4": "refuted",
        "H5": "confirmed",
        "H6": "refuted",
    }
    # The page says that H4 depends on an assumption.
    assert replay.replay(replay.EQUAL)["H4"].outcome == "ambiguous"


def test_the_six_fisher_intervals(replay: ModuleType) -> None:
    ends = replay.fisher_ends()
    assert len(ends) == 6
    for name, (low, high) in ends.items():
        row = replay.PUBLISHED["correlations"][name]
        assert low == pytest.approx(row["low"], abs=1e-3)
        assert high == pytest.approx(row["high"], abs=1e-3)


def test_small_correlations_are_judged_by_two_one_sided_tests(replay: ModuleType) -> None:
    outcomes = {name: replay.small_enough(name).outcome for name in ("low_light", "gaussian_noise", "motion_blur")}
    assert outcomes == {"low_light": "confirmed", "gaussian_noise": "confirmed", "motion_blur": "ambiguous"}


def test_the_replication_has_322_cells() -> None:
    blocks = read_draft(PROJECT / "prereg/vjepa21/draft.yaml").design.cells
    sizes = [math.prod(len(listed) for listed in block.model_dump().values() if listed) for block in blocks]
    assert sizes == [200, 100, 12, 8, 2]
    assert sum(sizes) == 322


SCORES = """episode,condition,success
b,dry,0.9
a,dry,0.8
c,dry,1.0
a,rain,0.7
c,rain,0.9
b,rain,0.8
"""


def test_the_ten_lines_of_the_library_page(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/library.md").read_text(), re.DOTALL)
    assert len(re.sub(r"(?m)^(import|from) .*\n|^\n", "", code).splitlines()) <= 10
    (tmp_path / "scores.csv").write_text(SCORES)
    script = f"{code}\nimport sys\nassert not {{'torch', 'hydra'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "confirmed"
    assert "rain = 0.8" in lines[2]


def test_a_run_of_the_replication_names_everything_that_is_missing(tmp_path: Path) -> None:
    done = study.command("run", "--root", PROJECT, "vjepa21", f"exec.weights={tmp_path}")
    assert done.code == 2
    places = "exec.data={davis: ", "exec.data={ssv2: ", "labels/validation.json", "ImageSets/2017/val.txt"
    for part in ("data set davis", "data set ssv2", *places, *(f"vjepa-stress fetch {size}" for size in SIZES)):
        assert part in done.err


def test_wrong_folders_are_named_with_everything_that_is_missing(tmp_path: Path) -> None:
    wrong = f"exec.data={{davis: {tmp_path}, ssv2: {tmp_path}}}"
    done = study.command("run", "--root", PROJECT, "vjepa21", f"exec.weights={tmp_path}", wrong)
    assert done.code == 2
    for part in ("not the folder of DAVIS", "not the folder of Something", *(f"fetch {size}" for size in SIZES)):
        assert part in done.err


def test_the_replica_is_registered_without_its_ill_posed_part() -> None:
    registration = freeze.load(StudyRoot(PROJECT), "vjepa21")
    assert len(registration.document.design.cells) == 322
    (h2,) = (one for one in registration.document.hypotheses if one.id == "H2")
    assert "M1" not in h2.estimands
    assert h2.rest is not None
    assert {leaf.estimand for leaf in h2.rest.leaves()} == {f"M2_{size}" for size in SIZES}
