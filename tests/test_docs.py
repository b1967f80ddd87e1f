"""What the pages show is what was measured, and what they tell people to type works."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.small import study
from vjepa_stress.study_root import StudyRoot

PROJECT = Path(__file__).parents[1]


def made() -> dict[Path, str]:
    sys.path.insert(0, str(PROJECT / "docs"))  # as when the script is run
    spec = importlib.util.spec_from_file_location("make", PROJECT / "docs" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    generated: dict[Path, str] = module.generated()
    return generated


def test_generated_files_are_up_to_date() -> None:
    stale = [path.name for path, text in made().items() if not path.exists() or path.read_text() != text]
    assert not stale, "make docs"


def test_measured_figures_keep_their_limits() -> None:
    encoder = json.loads((PROJECT / "docs/measured/encoder.json").read_text())
    assert all(encoder[name] <= limit for name, limit in encoder["limits"].items())
    cells = json.loads((PROJECT / "docs/measured/cells.json").read_text())
    assert cells["milliseconds_a_cell"] < cells["limit"]
    statistics = json.loads((PROJECT / "docs/measured/stats.json").read_text())
    speed, power, coverage = statistics["speed"], statistics["power"], statistics["coverage"]["coverage"]
    assert speed["seconds"] < speed["limit_seconds"]
    assert speed["peak_gibibytes"] < speed["limit_gibibytes"]
    assert speed["times_faster"] > 5
    assert power["seconds"] < power["limit_seconds"]
    # Where pairs share clips a Fisher interval does not cover; that is why the cluster bootstrap is there.
    wrong = "pearson of pairs that share clips, Fisher"
    assert coverage["200"].pop(wrong) < 0.9
    assert coverage["30"].pop(wrong) < 0.9
    assert all(0.93 <= share <= 0.97 for share in coverage["200"].values())
    assert all(share >= 0.91 for share in coverage["30"].values())
    metrics = json.loads((PROJECT / "docs/measured/metrics.json").read_text())
    assert metrics["share"] <= metrics["limit"]
    stream = json.loads((PROJECT / "docs/measured/pocket.json").read_text())["stream"]
    assert stream["clips_a_second_and_core"] >= stream["limit"]
    tracking = json.loads((PROJECT / "docs/measured/tracking.json").read_text())
    for entry in tracking["channels"].values():
        assert entry["speedup"] >= tracking["limit"]
        assert entry["mebibytes"]["banded"] < entry["mebibytes"]["frame_by_frame"]


def test_the_page_shows_the_demo_that_is_registered() -> None:
    shown = json.loads((PROJECT / "docs/measured/demo.json").read_text())
    leaves = [json.loads(line) for line in (PROJECT / "prereg/ledger.jsonl").read_text().splitlines()]
    assert shown["prereg_digest"] == [leaf["document"] for leaf in leaves if leaf["study"] == "demo"][-1]


def test_links_lead_somewhere() -> None:
    for page in [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_an_outsider_can_validate_with_the_schemas(finished: StudyRoot) -> None:
    def valid(schema: str, value: object) -> None:
        Draft202012Validator(json.loads((PROJECT / f"prereg/schema/{schema}.json").read_text())).validate(value)

    valid("prereg", json.loads((PROJECT / "prereg/demo/v1.json").read_text()))
    for path in (PROJECT / "prereg/demo/clips").iterdir():
        valid("clips", json.loads(path.read_text()))
    for line in (finished.path / "prereg/ledger.jsonl").read_text().splitlines():
        valid("leaf", json.loads(line))
    manifests = list(finished.path.glob("outputs/**/manifest.json"))
    assert manifests
    for path in manifests:
        valid("manifest", json.loads(path.read_text()))
    valid("verdict", json.loads(next(finished.path.glob("outputs/**/verdict.json")).read_text()))


def test_the_block_of_your_own_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PROJECT / "docs/usage.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (block,) = re.findall(r"```yaml\n(# my_conf.*?)```", page, re.DOTALL)
    (tmp_path / "my_blocks.py").write_text(code)
    (tmp_path / "my_conf/perturbation").mkdir(parents=True)
    (tmp_path / "my_conf/perturbation/fog.yaml").write_text(block)
    (tmp_path / "my_conf/data").symlink_to(study.CONF / "data")
    monkeypatch.syspath_prepend(str(tmp_path))
    draft = (study.HERE / "draft.yaml").read_text().replace("frame_drops", "fog")
    assert "fog" in draft
    root = study.new_root(tmp_path / "root", draft)
    more = ("--config-dir", tmp_path / "my_conf", "exec.plugins=[my_blocks]", "exec.threads=1")
    draft_file = root.path / "prereg/small/draft.yaml"
    assert (done := study.command("register", "--json", draft_file, *more)).code == 0, done.err
    done = study.command("run", "--json", "--root", root.path, "study=small", "-m", *more)
    assert done.code == 0, done.err
    assert study.command("verdict", "--root", root.path, "small").code == 0
