"""Training, on the shipped recipe made tiny: it learns, it can be cut off anywhere, it says what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.bench.bench_pocket import RECIPE
from vjepa_stress.cli import main
from vjepa_stress.digest import sha256_file
from vjepa_stress.encoders.seeded import draw_weights
from vjepa_stress.encoders.stored import Stored
from vjepa_stress.encoders.vjepa21 import VJEPA21Config
from vjepa_stress.errors import MachineFailure
from vjepa_stress.training.pretrain import Training, first_weights, stored_weights
from vjepa_stress.training.recipe import Recipe

TINY = [
    "training.steps=6",
    "training.clips=2",
    "training.together=1",
    "training.resolution=32",
    "training.frames=4",
    "training.rendered_frames=8",
    "training.predictor_dim=12",
    "training.predictor_depth=1",
    "training.predictor_heads=2",
]
MODEL = """
_target_: vjepa_stress.encoders.stored.Stored
embed_dim: 24
depth: 12
num_heads: 2
mlp_ratio: 2.0
patch_size: 8
tubelet_size: 2
file: small.safetensors
sha256: null
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "small.yaml").write_text(MODEL)
    return tmp_path / "conf"


def words(conf: Path, out: Path, *more: str) -> list[str]:
    return ["pretrain", "small", *TINY, *more, "--config-dir", str(conf), "--out", str(out), "--json"]


def train(conf: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(words(conf, out, *more)) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_what_it_writes_is_an_encoder_and_a_log(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = train(conf, tmp_path / "out", capsys)
    path = Path(done["weights"])
    assert done["digest"] == sha256_file(path)
    lines = [json.loads(line) for line in Path(done["log"]).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(6))
    assert all(line["hidden"] > 0 and line["gradient"] > 0 for line in lines)
    with safe_open(path, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118 - no mapping
        told = json.loads(file.metadata()["training"])
        still, video = file.get_tensor("patch_embed_img.proj.weight"), file.get_tensor("patch_embed.proj.weight")
    assert told["recipe"]["steps"] == told["steps"] == 6
    torch.testing.assert_close(still.float(), video.float().sum(2, keepdim=True), rtol=2e-3, atol=2e-3)
    fields = {line.split(": ")[0]: json.loads(line.split(": ")[1]) for line in MODEL.split("\n")[2:8]}
    encoder = Stored(**fields, file=path.name, sha256=done["digest"])
    loaded = encoder.load(path.parent, torch.device("cpu"), "float32", False)
    image = torch.rand(1, 3, 1, 32, 32)
    assert loaded.encode(image.expand(-1, -1, 4, -1, -1)).shape == (1, 2, 4, 4, 24)
    # A still image gets the token of a clip that stands still.
    torch.testing.assert_close(
        loaded.encode(image), loaded.encode(image.expand(-1, -1, 2, -1, -1)), rtol=1e-2, atol=2e-2
    )


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_others(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (train(conf, tmp_path / name, capsys)["digest"] for name in "ab")
    assert first == second
    assert train(conf, tmp_path / "c", capsys, "training.seed=1")["digest"] != first


def test_training_begins_from_the_twin_with_quieter_blocks() -> None:
    """Nothing but what blocks add is scaled: tokens begin as their own patch."""
    config = VJEPA21Config(embed_dim=24, depth=12, num_heads=2, patch_size=8)
    twin, first = draw_weights(config, RECIPE.seed), first_weights(config, RECIPE)
    for name, weight in twin.items():
        quiet = name.startswith("blocks.") and name.endswith(("attn.proj.weight", "mlp.fc2.weight"))
        torch.testing.assert_close(first[name], weight * (RECIPE.residual_scale if quiet else 1), rtol=0, atol=0)


def tiny(**changes: object) -> Training:
    fields = {word.partition("=")[0].removeprefix("training."): int(word.partition("=")[2]) for word in TINY}
    recipe = Recipe(**{**RECIPE.model_dump(), **fields, **changes})
    config = VJEPA21Config(embed_dim=24, depth=12, num_heads=2, mlp_ratio=2.0, patch_size=8)
    return Training(config, recipe, torch.device("cpu"))


def test_one_step_moves_the_student_and_the_teacher_after_it() -> None:
    training = tiny(
        steps=4, warmup=0.5, momentum=[0.8, 0.9], weight_decay=[0.1, 0.3], context_from=0.0, context_to=0.5
    )
    before = {name: value.clone() for name, value in training.teacher.state_dict().items()}
    training.step()
    line = training.step()
    recipe = training.recipe
    assert line["rate"] == recipe.rate_at(1)
    groups = training.optimiser.param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (recipe.rate_at(1), recipe.decay_at(1)),
        (recipe.rate_at(1), 0),
    ]
    assert all(
        (p.ndim > 1) == matrix for group, matrix in zip(groups, (True, False), strict=True) for p in group["params"]
    )
    after, student = training.teacher.state_dict(), training.student.state_dict()
    for name in ("blocks.0.attn.qkv.weight", "blocks.11.mlp.fc2.weight", "patch_embed.proj.weight"):
        assert not torch.equal(student[name], before[name])
        # Two steps of a moving average lie between where it was and where the student is.
        moved, way = (after[name] - before[name]).norm(), (student[name] - before[name]).norm()
        assert 0 < moved < way
    assert torch.equal(student["patch_embed_img.proj.weight"], before["patch_embed_img.proj.weight"]), "no images"


def test_the_teacher_is_the_moving_average_of_the_student() -> None:
    training = tiny(steps=4)
    before = {name: value.clone() for name, value in training.teacher.named_parameters()}
    keep = training.recipe.momentum_at(0)
    training.step()
    student = dict(training.student.named_parameters())
    for name, value in training.teacher.named_parameters():
        torch.testing.assert_close(value, keep * before[name] + (1 - keep) * student[name].detach())


def test_a_training_that_diverges_says_so() -> None:
    training = tiny(steps=4)
    with torch.no_grad():
        training.student.blocks[0].attn.qkv.weight.fill_(float("inf"))  # type: ignore[union-attr, operator]
    with pytest.raises(MachineFailure, match="diverged"):
        training.step()


def test_weights_that_float16_cannot_hold_are_not_stored() -> None:
    training = tiny(steps=1)
    with torch.no_grad():
        next(training.teacher.parameters()).fill_(70000.0)
    with pytest.raises(MachineFailure, match="weights at the end"):
        stored_weights(training.teacher, {})


def test_losses_fall() -> None:
    """The same clips and masks again and again, with a fixed teacher; which weights change is tested above."""
    fixed = {"warmup": 0.0, "context_to": 0.0, "redundancy_weight": 0.0, "momentum": [0.9999, 0.9999]}
    training = tiny(steps=400, learning_rate=0.003, **fixed)
    first = training.step()
    for _ in range(60):
        training.done = 0
        last = training.step()
    assert last["hidden"] < 0.7 * first["hidden"]
    assert last["visible"] < 0.7 * first["visible"]


@pytest.mark.slow
def test_killed_runs_end_in_the_same_bytes(conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`kill -9` after each new checkpoint, until training is complete."""
    steps = "training.steps=170"  # three checkpoints before the last one
    whole = train(conf, tmp_path / "whole", capsys, steps)["digest"]
    out = tmp_path / "killed"
    checkpoint, killed_at = out / "small" / "checkpoint.pt", list[int]()
    command = [sys.executable, "-m", "vjepa_stress", *words(conf, out, steps)]
    while True:
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
            while run.poll() is None:
                if len(killed_at) < 2 and checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                    os.kill(run.pid, signal.SIGKILL)
                    run.wait()
                    killed_at.append(torch.load(checkpoint, weights_only=True)["done"])
                    break
                time.sleep(0.01)
            said = run.stdout.read() if run.stdout else ""
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
    assert killed_at == [50, 100], "it resumed and did not start again"
    assert json.loads(said)["digest"] == whole
    assert len((out / "small" / "log.jsonl").read_text().splitlines()) == 170


def test_a_folder_of_another_run_or_a_damaged_checkpoint_is_refused(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train(conf, out, capsys)
    assert main(words(conf, out, "training.learning_rate=0.5")) == 2
    assert "another training run" in capsys.readouterr().err
    checkpoint, log = out / "small" / "checkpoint.pt", out / "small" / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole.partition("\n")[2])
    assert main(words(conf, out)) == 2
    assert "expected: 6 lines" in capsys.readouterr().err
    log.write_text(whole + "a line after the checkpoint\n")
    assert main(words(conf, out)) == 0
    state = torch.load(checkpoint, weights_only=True)
    torch.save({key: value for key, value in state.items() if key != "teacher"}, checkpoint)
    assert main(words(conf, out)) == 2
    assert "damaged or not a training checkpoint" in capsys.readouterr().err
    torch.save(state, checkpoint)
    assert main(words(conf, out, "exec.threads=2")) == 2
    assert "another training run" in capsys.readouterr().err
    log.write_bytes(b"\xff\n" * 6)
    assert main(words(conf, out)) == 0, "the log is for people; what it says is not read again"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert main(words(conf, out)) == 2
    assert "damaged or not a training checkpoint" in capsys.readouterr().err
    checkpoint.unlink()
    checkpoint.mkdir()
    assert main(words(conf, out)) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_what_was_logged_after_the_checkpoint_is_forgotten(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Path(train(conf, tmp_path / "out", capsys)["log"])
    before = log.read_text()
    log.write_text(before + before)
    checkpoint = log.with_name("checkpoint.pt")
    state = torch.load(checkpoint, weights_only=True)
    state["done"] = 5
    torch.save(state, checkpoint)
    train(conf, tmp_path / "out", capsys)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(6))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "Missing argument 'MODEL'"),
        (["base"], "cannot be trained"),
        (["pixels_8"], "cannot be trained"),
        (["pocket_b", "training.clips=3"], "does not divide"),
        (["pocket_b", "training.steps=many"], "steps"),
        (["pocket_b", "training.speed=9"], "speed"),
        (["nobody"], "nobody"),
        (["pocket_b", "training.predictor_heads=5"], "channels per head"),
        (["pocket_b", "training.resolution=92"], "do not divide into whole tokens"),
        (["pocket_b", "training.frames=7"], "do not divide into whole tokens"),
        (["pocket_b", "training.learning_rate=1e39"], "learning_rate"),
        (["pocket_b", "training.weight_decay=[0,1e39]"], "weight decay"),
        (["pocket_b", "chunk=1/2"], "chunk"),
        (["pocket_b", "strength=0.5"], "does not select cells"),
        (["pocket_q"], "did you mean pocket_"),
    ],
)
def test_what_cannot_be_trained_is_said(
    given: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", *given, "--out", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [(["exec.device=meta"], 4, "cannot be used"), (["--out", "n" * 300], 2, "cannot be written")],
)
def test_places_that_cannot_be_trained_in(
    given: list[str], code: int, told: str, conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(conf, tmp_path), *given]) == code
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("small"))


def test_a_predictor_that_cannot_be_built_is_said(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (conf / "model" / "small.yaml").write_text(MODEL.replace("mlp_ratio: 2.0", "mlp_ratio: 0.05"))
    assert main(words(conf, tmp_path)) == 2
    assert "a predictor of this shape cannot be built" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small" / "log.jsonl").mkdir(parents=True)
    assert main(words(conf, tmp_path, "training.steps=1000000")) == 2
    assert "cannot be written" in capsys.readouterr().err
