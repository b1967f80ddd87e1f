"""From a draft to shards through the real commands: resume, single cells, attempts, identities, refusals."""

import json
import re
from pathlib import Path

import pytest
import torch

from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.design.video import as_video
from vjepa_stress.digest import parse_json, sha256
from vjepa_stress.metrics.drift import frame_fidelity, temporal_consistency
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.prereg import freeze
from vjepa_stress.records import read_cell
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks


def test_everything_registered_is_there_and_nothing_else(finished: StudyRoot) -> None:
    status = study.command("status", "--root", finished.path, "small", "--json").json
    assert (status["registered"], status["done"], status["missing"]) == (study.CELLS, study.CELLS, 0)
    assert status["completed"]
    names = [path.name for path in study.cells(finished).iterdir()]
    assert len(names) == study.CELLS
    events = [leaf.event for leaf in ledger.read(finished).leaves]
    assert events == ["registered", "launched", "completed", "viewed", "viewed"]


def test_a_cell_is_what_its_parts_give(finished: StudyRoot) -> None:
    """One cell computed again by hand, from the parts and the registered design."""
    registration = freeze.load(finished, "small")
    blocks = Blocks(study.CONF)
    dataset, encoder = blocks.dataset("small"), blocks.encoder("tiny_wide")
    loaded = encoder.load(Path(), torch.device("cpu"), "float32", False)
    path = next(study.cells(finished).glob("small-tiny_wide-gaussian_noise-0.6-0-*"))
    rows = {row["clip"]: row for row in read_cell(path).table.to_pylist()}
    clips = dataset.identify(None, 16)
    assert set(rows) == {clip.digest for clip in clips}
    for clip in clips:
        video = dataset.read(clip, None, 32).pixels[None].float() / 255
        seed = clip_seed(as_video(registration.document.design).seed, clip.digest, "gaussian_noise")
        clean, noisy = loaded.encode(video), loaded.encode(blocks.perturbation("gaussian_noise")(video, 0.6, [seed]))
        assert rows[clip.digest]["M1"] == float(frame_fidelity(clean, noisy))
        assert rows[clip.digest]["M2"] == rows[clip.digest]["M2a"] == float(temporal_consistency(clean, noisy))


def test_calibration_of_the_path(finished: StudyRoot) -> None:
    for path in study.cells(finished).glob("*-identity-none-*"):
        for row in read_cell(path).table.to_pylist():
            for metric in ("M1", "M1a", "M2", "M2a"):
                assert abs(row[metric]) <= 1e-6


def test_an_untrained_model_is_called_untrained(finished: StudyRoot) -> None:
    assert as_video(freeze.load(finished, "small").document.design).models["tiny"].untrained
    for name in ("report.md", "report.html"):
        assert "UNTRAINED" in (study.outputs(finished) / name).read_text()


def test_a_rerun_does_nothing(attacked: StudyRoot) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.cells(attacked).rglob("*")}
    leaves = len(ledger.read(attacked).leaves)
    done = study.run(attacked)
    assert done.code == 0
    assert "nothing to do" in done.err
    assert {path: path.stat().st_mtime_ns for path in study.cells(attacked).rglob("*")} == before
    assert len(ledger.read(attacked).leaves) == leaves


def test_single_cells_then_the_rest(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    one = study.run(root, "model=tiny", "perturbation=reverse")
    assert one.code == 0, one.err
    assert (one.json["computed"], one.json["complete"]) == (1, False)
    some = study.run(root, "model=tiny,tiny_wide", "perturbation=gaussian_noise", "strength=0.2,0.6")
    assert some.code == 0, some.err
    assert some.json["computed"] == 4
    events = [leaf.event for leaf in ledger.read(root).leaves]
    assert events == ["registered", "launched", "launched"]
    rest = study.run(root)
    assert rest.code == 0, rest.err
    assert (rest.json["computed"], rest.json["computed_before"], rest.json["complete"]) == (study.CELLS - 5, 5, True)
    # Composed by hand or in one sweep, in any order: the same numbers.
    assert study.contents(root) == study.contents(lean)


def test_shares_of_the_clips_one_after_the_other(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    first = study.run(root, "chunk=1/2")  # two of three clips
    assert first.code == 0, first.err
    assert "16 cells wait for the clips of other shares" in first.err
    assert (first.json["computed"], first.json["waiting"], first.json["complete"]) == (0, study.CELLS, False)
    second = study.run(root, "chunk=2/2")
    assert second.code == 0, second.err
    assert (second.json["computed"], second.json["waiting"], second.json["complete"]) == (study.CELLS, 0, True)
    assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered", "launched", "launched", "completed"]
    assert study.contents(root) == study.contents(lean)


def test_another_attempt_is_numbered_and_not_preferred(lean: StudyRoot, tmp_path: Path) -> None:
    attacked = study.copied(lean, tmp_path / "attacked")
    done = study.run(attacked, "--again")
    assert done.code == 0, done.err
    assert done.json["attempt"] == 2
    assert study.contents(attacked, 2) == study.contents(lean)
    # The stored verdict is older than the second attempt, and correct as of its checkpoint.
    audited = study.command("audit", "--root", attacked.path, "small")
    assert audited.code == 0, audited.err
    assert "newer events than this verdict" in audited.err
    assert study.command("verdict", "--root", attacked.path, "small").code == 0
    verdict = parse_json((study.outputs(attacked) / "verdict.json").read_bytes())
    assert verdict["attempt"] == 1
    assert "other-attempt" in [deviation["code"] for deviation in verdict["deviations"]]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("strength=0.55",), "strength 0.55 is not in the registered design"),
        (("perturbation=occlusion",), "perturbation occlusion is not in the registered design"),
        (
            ("perturbation=reverse", "strength=0.2"),
            "no registered cell has perturbation reverse together with strength 0.2",
        ),
        (("model=gigantic",), "model gigantic is not in the registered design"),
        (("model=nothing",), "model nothing is not in the registered design"),
        (("strength=strong",), "a strength must be a number"),
        (("exec.device=abacus",), "this device cannot be used"),
        (("exec.threads='2'",), "Input should be a valid integer"),
        (("exec.colour=red",), "unknown setting exec.colour"),
        (("exec=nowhere",), "exec has no option nowhere"),
        (("model=[",), "a bracket that is not closed"),
        (("model=a=b",), "Hydra does not accept"),
        (("study=small",), "the study is an argument"),
        (("modle=tiny",), "did you mean model?"),
        (("model=tinny",), "did you mean tiny?"),
        (("exec.thraeds=1",), "did you mean threads?"),
        (("exec.data={small:",), "put the whole override in quotes"),
        (("tiny",), "neither an option nor an override"),
        (("hydra/launcher=rq",), "fix: pip install hydra-rq-launcher\n"),
        (("launcher=slrum",), "did you mean slurm?"),
        (("launcher=slurm", "exec.threads='2'"), "Input should be a valid integer"),
    ],
)
def test_bad_requests(attacked: StudyRoot, words: tuple[str, ...], text: str) -> None:
    if words[0].startswith("exec.device"):  # known only when something is to be computed
        words = (*words, "--again")
    leaves = len(ledger.read(attacked).leaves)
    done = study.run(attacked, *words)
    assert done.code == (4 if "device" in words[0] else 2)
    assert text in done.err
    assert "Traceback" not in done.err
    if "device" not in words[0]:
        assert len(ledger.read(attacked).leaves) == leaves


def test_exploration_beside_the_design_is_marked_and_never_judged(attacked: StudyRoot) -> None:
    done = study.run(attacked, "--exploratory", "model=tiny", "perturbation=gaussian_noise", "strength=0.55")
    assert done.code == 0, done.err
    assert [p.name.rsplit("-", 1)[0] for p in Path(done.json["folder"]).iterdir()] == [
        "small-tiny-gaussian_noise-0.55-0"
    ]
    leaf = ledger.read(attacked).leaves[-1]
    assert isinstance(leaf, ledger.Explored)
    folder = Path(done.json["folder"])
    assert leaf.cells == tuple(path.name for path in folder.iterdir())
    assert leaf.document == sha256((folder.parent / "design.json").read_bytes())
    assert study.command("verdict", "--root", attacked.path, "small").code == 0
    verdict = parse_json((study.outputs(attacked) / "verdict.json").read_bytes())
    assert "exploratory-run" in [deviation["code"] for deviation in verdict["deviations"]]
    assert verdict["attempt"] == 1


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("titel: x", None, "titel: "),
        ("metric: M2, where: {perturbation: [identity]}", "metric: M9, where: {}", "unknown metric 'M9'"),
        ("perturbation: [reverse]}}\n      ratio", "perturbation: [revers]}}\n      ratio", "selects no cell"),
        ("strength: [0.2, 0.6, 1.0]", "strength: [0.2, 0.6, 1.7]", "must be in (0, 1]"),
        ("strength: [0.2, 0.6, 1.0]", "strength: ['0.2']", "Input should be a valid number"),
        ("confirm_at: 0.9, refute_at: 0.5", "confirm_at: 0.5, refute_at: 0.9", "overlap"),
        ("id: H2", "id: H1", "duplicate hypothesis id"),
        ("perturbation: [identity,", "perturbation: [identity, sandstorm,", "no perturbation named 'sandstorm'"),
        ("bootstrap_resamples: 1000", "bootstrap_resamples: 10", "greater than or equal to 1000"),
        ("study: small", "study: Small!", "should match pattern"),
        ("estimands: {rise:", "estimands: {fall:", "reads 'rise'"),
        ("low: 0.5, high: 1.5", "low: 1.5, high: 0.5", "is above high"),
        ("title: Noise", "title: [Noise", "not valid YAML"),
        ("  seed: 3", "  seed: 3\n  seed: 4", "not valid YAML"),
        ("frames: 16", "frames: 16.5", "valid integer"),
    ],
)  # fmt: skip
def test_bad_drafts(tmp_path: Path, old: str, new: str | None, text: str) -> None:
    draft = (study.HERE / "draft.yaml").read_text()
    draft = draft + f"{old}\n" if new is None else draft.replace(old, new)
    root = study.new_root(tmp_path / "root", draft)
    done = study.register(root)
    assert done.code == 2, done.err
    assert text in done.err
    assert "Traceback" not in done.err
    assert not root.ledger.exists()
    assert [path.name for path in (root.prereg / "small").iterdir()] == ["draft.yaml"]


def test_a_study_is_registered_once(attacked: StudyRoot) -> None:
    draft = attacked.prereg / "small" / "draft.yaml"
    draft.write_text(draft.read_text().replace("confirm_at: 0.9", "confirm_at: 0.8"))
    before = (attacked.prereg / "small" / "v1.json").read_bytes()
    done = study.register(attacked)
    assert done.code == 2
    assert "can be amended, but not registered again" in done.err
    assert (attacked.prereg / "small" / "v1.json").read_bytes() == before


def test_the_registered_file_is_canonical_and_its_digest_is_logged(finished: StudyRoot) -> None:
    data = (finished.prereg / "small" / "v1.json").read_bytes()
    leaf = ledger.read(finished).leaves[0]
    assert leaf.document == sha256(data)
    assert freeze.to_bytes(freeze.from_bytes(data, "v1.json")) == data
    assert not re.search(rb": |, \"|\n", data.replace(b"\\n", b"").split(b'"hypotheses"')[0][:2000])


def test_a_changed_kernel_parameter_stops_the_launch(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    (conf / "data").mkdir(parents=True)
    text = (study.CONF / "data" / "small.yaml").read_text()
    (conf / "data" / "small.yaml").write_text(text)
    root = study.new_root(tmp_path / "root")
    draft = root.prereg / "small" / "draft.yaml"
    words = ("--root", root.path, "--config-dir", conf)
    assert study.command("register", draft, *words).code == 0
    (conf / "data" / "small.yaml").write_text(text.replace("travel: 0.35", "travel: 0.30"))
    done = study.command("run", "small", *words)
    assert done.code == 3
    assert "travel: 0.35" in done.err
    assert "travel: 0.3\n" in done.err
    assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered"]


def test_a_users_folder_adds_but_cannot_shadow(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    (conf / "perturbation").mkdir(parents=True)
    weak = "_target_: vjepa_stress.perturb.gaussian_noise.GaussianNoise\nsigma_at_full: 0.01\n"
    for name in ("gaussian_noise", "weak_noise"):
        (conf / "perturbation" / f"{name}.yaml").write_text(weak)
    blocks = Blocks(conf)
    assert blocks.perturbation("gaussian_noise").spec()["sigma_at_full"] == 0.4
    assert blocks.perturbation("weak_noise").spec()["sigma_at_full"] == 0.01


def test_manifests_say_what_they_are_bound_to(finished: StudyRoot) -> None:
    launched = ledger.read(finished).leaves[1]
    assert isinstance(launched, ledger.Launched)
    assert sorted(launched.cells) == sorted(path.name for path in study.cells(finished).iterdir())
    for path in study.cells(finished).iterdir():
        manifest = json.loads((path / "manifest.json").read_text())
        assert manifest["identities"]["weights"] == launched.identities["weights"][manifest["cell"]["model"]]
        assert manifest["code_digest"] == launched.code
        assert manifest["ledger_checkpoint"]["size"] == 2
        assert manifest["rows"] == len(manifest["units"]) == 30
        assert {"decode", "perturb", "encode", "metrics"} <= set(manifest["seconds"])
        assert manifest["started"] <= manifest["finished"]
