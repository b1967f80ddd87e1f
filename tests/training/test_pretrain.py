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

from vjepa_stress.cli import main
from vjepa_stress.digest import sha256_file
from vjepa_stress.encoders.seeded import draw_weights
from vjepa_stress.encoders.stored import Stored
from vjepa_stress.encoders.vjepa21 import VJEPA21Config
from vjepa_stress.provenance import shipped
from vjepa_stress.sweep.bind import load_yaml, strictly
from vjepa_stress.training.pretrain import first_weights
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
    return ["pretrain", "model=small", *TINY, *more, "--config-dir", str(conf), "--out", str(out), "--json"]


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
    recipe = strictly(Recipe, load_yaml(shipped("conf") / "training" / "pocket.yaml"), "training")
    config = VJEPA21Config(embed_dim=24, depth=12, num_heads=2, patch_size=8)
    twin, first = draw_weights(config, recipe.seed), first_weights(config, recipe)
    for name, weight in twin.items():
        quiet = name.startswith("blocks.") and name.endswith(("attn.proj.weight", "mlp.fc2.weight"))
        torch.testing.assert_close(first[name], weight * (recipe.residual_scale if quiet else 1), rtol=0, atol=0)


def test_it_learns(conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Path(train(conf, tmp_path / "out", capsys, "training.steps=60")["log"])
    loss = [json.loads(line)["hidden"] for line in log.read_text().splitlines()]
    assert sum(loss[-10:]) < 0.8 * sum(loss[:10])


def test_killed_runs_end_in_the_same_bytes(conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`kill -9` after checkpoints that are there, again and again, until it is done."""
    steps = "training.steps=170"  # three checkpoints before the last one
    whole = train(conf, tmp_path / "whole", capsys, steps)["digest"]
    out = tmp_path / "killed"
    checkpoint, kills = out / "small" / "checkpoint.pt", 0
    command = [sys.executable, "-m", "vjepa_stress", *words(conf, out, steps)]
    while True:
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
            while run.poll() is None:
                if kills < 2 and checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                    os.kill(run.pid, signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.01)
            said = run.stdout.read() if run.stdout else ""
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
    assert kills == 2
    assert json.loads(said)["digest"] == whole
    assert len((out / "small" / "log.jsonl").read_text().splitlines()) == 170


def test_a_folder_of_another_run_or_a_damaged_checkpoint_is_refused(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train(conf, out, capsys)
    assert main(words(conf, out, "training.learning_rate=0.5")) == 3
    assert "another training run" in capsys.readouterr().err
    checkpoint = out / "small" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert main(words(conf, out)) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "name a model"),
        (["model=base"], "not trained with this project"),
        (["model=pixels_8"], "not trained with this project"),
        (["model=pocket_b", "training.clips=3"], "do not divide"),
        (["model=pocket_b", "training.steps=many"], "steps"),
        (["model=pocket_b", "training.speed=9"], "speed"),
        (["model=nobody"], "nobody"),
    ],
)
def test_what_cannot_be_trained_is_said(
    given: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", *given, "--out", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
