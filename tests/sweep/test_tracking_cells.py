"""M1, M2 and M3 in one cell: annotated sequences, rendered clips and plain videos through the real commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests.data import trees
from tests.small import study
from vjepa_stress.design.video import as_video
from vjepa_stress.metrics.functional_utility import FunctionalUtility
from vjepa_stress.metrics.tracking import track
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.prereg import freeze
from vjepa_stress.records import read_cell
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks

DESIGN = """
  models: [tiny]
  controls: [pixels]
  metrics: [M1, M2, M3]
  cells:
    - {{dataset: [{datasets}], model: [tiny, pixels], perturbation: [identity, reverse]}}
    - {{dataset: [{datasets}], model: [tiny, pixels], perturbation: [occlusion], strength: [0.4, 1.0]}}
  seed: 3
  frames: 16
  resolution: 64
hypotheses:
  - id: C1
    title: Identity
    claim: The identity is at the noise floor.
    rationale: Anything else would be read as drift.
    family: calibration
    prediction: confirmed
    estimands: {{floor: {{statistic: maximum, metric: dM3, where: {{dataset: [{first}], perturbation: [identity]}}}}}}
    rule: {{kind: threshold, estimand: floor, direction: below, confirm_at: 1.0e-6, refute_at: 1.0e-6, use: point,
           rationale: Rounding of float32 is smaller.}}
acknowledged:
  - {{warning: few-studies, reason: a test registers many times}}
"""


def draft(*datasets: str) -> str:
    text = (study.HERE / "draft.yaml").read_text()
    design = DESIGN.format(datasets=", ".join(datasets), first=datasets[0])
    analysis, scenarios = text.split("analysis:")[1].split("operating_characteristics:")
    # The scenarios of the small study, for the one metric that is read here.
    lines = scenarios.replace("M2", "dM3").splitlines(keepends=True)
    kept = "".join(line for line in lines if "expects" not in line)
    head = text.split("design:")[0] + "design:" + design
    return f"{head}analysis:{analysis}operating_characteristics:{kept}"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    return {
        "small_davis": trees.davis(root / "davis", {"bear": 20, "camel-run": 18}),
        "small_ssv2": trees.small_ssv2(root / "ssv2", 4),
    }


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, homes: dict[str, Path]) -> StudyRoot:
    """A finished study of annotated sequences, plain videos and rendered clips."""
    memory = str(tmp_path_factory.mktemp("memory"))
    with mock.patch.dict("os.environ", {"XDG_CACHE_HOME": memory}):
        root = study.new_root(tmp_path_factory.mktemp("tracked") / "root", draft("small_davis", "small_ssv2", "few"))
        data = "exec.data={" + ",".join(f"{name}: '{home}'" for name, home in homes.items()) + "}"
        for done in (study.register(root, data), study.run(root, data)):
            assert done.code == 0, done.err
    for command in ("verdict", "report", "audit"):
        done = study.command(command, "--root", root.path, "small")
        assert done.code == 0, done.err
    return root


def rows(root: StudyRoot, pattern: str) -> list[dict[str, Any]]:
    (path,) = study.cells(root).glob(pattern)
    found: list[dict[str, Any]] = read_cell(path).table.to_pylist()
    return found


def test_a_cell_is_what_its_parts_give(tracked: StudyRoot, homes: dict[str, Path]) -> None:
    blocks = Blocks(study.CONF)
    seed = as_video(freeze.load(tracked, "small").document.design).seed
    settings = blocks.metric("M3").model_dump()
    occlusion = blocks.perturbation("occlusion")
    for model in ("tiny", "pixels"):
        loaded = blocks.encoder(model).load(Path(), torch.device("cpu"), "float32", False)
        for name, home in (("small_davis", homes["small_davis"]), ("few", None)):
            by_clip = {row["clip"]: row for row in rows(tracked, f"{name}-{model}-occlusion-1-*")}
            dataset = blocks.dataset(name)
            for clip in dataset.identify(home, 16):
                sample = dataset.read(clip, home, 64)
                assert sample.masks is not None
                video = sample.pixels[None].float() / 255
                perturbed = occlusion(video, 1.0, [clip_seed(seed, clip.digest, "occlusion")])
                before = track(loaded.encode(video)[0], sample.masks, **settings)
                after = track(loaded.encode(perturbed)[0], sample.masks, **settings)
                row = by_clip[clip.digest]
                assert row["M3"] == after.value
                assert row["dM3"] == before.value - after.value
                assert row["M3_objects"] == list(after.objects)
                assert (row["M3_J"], row["M3_F"]) == (list(after.scores.J), list(after.scores.F))
                assert row["M3_n"] == row["dM3_n"] == 7 * len(after.objects)
                assert not row["non_finite"]


def test_nothing_is_lost_by_the_identity(tracked: StudyRoot) -> None:
    for name in ("small_davis", "few"):
        for model in ("tiny", "pixels"):
            for row in rows(tracked, f"{name}-{model}-identity-none-*"):
                assert row["dM3"] == 0.0
                assert 0 < row["M3"] <= 1


def test_null_where_m3_says_nothing(tracked: StudyRoot) -> None:
    patterns = ("small_davis-tiny-reverse-*", "small_ssv2-tiny-identity-*", "small_ssv2-pixels-occlusion-0.4-*")
    for pattern in patterns:
        for row in rows(tracked, pattern):
            parts = ("M3", "dM3", "M3_objects", "M3_J", "M3_F")
            assert {row[part] for part in parts} == {None}
            assert row["M3_n"] == 0
            assert not row["non_finite"]
            assert row["M2"] is not None


def test_the_clean_score_is_computed_once_a_model_and_clip(tmp_path: Path) -> None:
    root = study.new_root(tmp_path / "root", draft("few"))
    assert study.register(root).code == 0
    plain, asked = FunctionalUtility.of_clean, []

    def watched(self: FunctionalUtility, *arguments: Any) -> Any:
        asked.append(arguments)
        return plain(self, *arguments)

    # An instrument, not a stand-in: the real method runs.
    with mock.patch.object(FunctionalUtility, "of_clean", watched):
        done = study.run(root)
    assert done.code == 0, done.err
    assert done.json["computed"] == 8
    assert len(asked) == 2 * 3  # models × clips, whatever the number of cells


def test_where_it_runs_changes_no_number(tracked: StudyRoot, tmp_path: Path) -> None:
    root = study.new_root(tmp_path / "root", draft("few"))
    assert study.register(root).code == 0
    before = torch.get_num_threads()
    try:
        words = ("model=pixels", "perturbation=occlusion", "strength=0.4,1.0")
        assert study.run(root, *words, "exec.threads=2").code == 0
    finally:
        torch.set_num_threads(before)
    for strength in ("0.4", "1"):
        cell = f"few-pixels-occlusion-{strength}-*"
        assert rows(root, cell) == rows(tracked, cell)


def test_other_bytes_than_registered_are_refused(homes: dict[str, Path], tmp_path: Path) -> None:
    home = trees.davis(tmp_path / "davis", {"bear": 16, "camel-run": 16})
    root = study.new_root(tmp_path / "root", draft("small_davis"))
    data = f"exec.data={{small_davis: '{home}'}}"
    assert study.register(root, data).code == 0
    path = home / "Annotations" / "480p" / "bear" / "00003.png"
    path.write_bytes(trees.palette_png(trees.objects(4, *trees.real_frames()[0].shape[:2])))
    for verify in ("changed", "full"):
        done = study.run(root, data, "--verify", verify)
        assert done.code == 3, done.err
        assert "the clips of small_davis differ from the registered ones" in done.err
    done = study.run(root, data, "exec.verify=sometimes")
    assert done.code == 2


PEAK = """
import resource, sys
from vjepa_stress.cli import main
code = main(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak(folder: Path, clips: int) -> float:
    """Mebibytes that a run of a number of clips takes at most."""
    conf = folder / "conf" / "data"
    conf.mkdir(parents=True)
    (conf / "few.yaml").write_text(
        (study.CONF / "data" / "few.yaml").read_text().replace("n_clips: 3", f"n_clips: {clips}")
    )
    text = draft("few").replace("resolution: 64", "resolution: 96").replace("[tiny, pixels]", "[pixels]")
    text = text.replace("models: [tiny]\n  controls: [pixels]", "models: [pixels]")
    root = study.new_root(folder / "root", text)
    there = ["--root", str(root.path), "--config-dir", str(folder / "conf")]
    done = study.command("register", root.prereg / "small" / "draft.yaml", *there)
    assert done.code == 0, done.err
    words = ["run", "small", "exec.threads=1", *there]
    run = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True)
    code, kibibytes = run.stderr.split()[-2:]
    assert code == "0", run.stderr
    return int(kibibytes) / 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_clips(tmp_path: Path) -> None:
    few, many = peak(tmp_path / "few", 8), peak(tmp_path / "many", 64)
    assert many - few <= 50, (few, many)
