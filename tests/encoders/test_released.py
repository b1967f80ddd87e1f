"""Checkpoints: strict, safe, and identified by the bytes that were loaded."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from tests.encoders import SHIPPED, config_of
from vjepa_stress.digest import sha256_file, sha256_stream
from vjepa_stress.encoders import released
from vjepa_stress.encoders.released import SIZES, Released, load_released, record_of
from vjepa_stress.encoders.vjepa21 import VJEPA21, VJEPA21Config
from vjepa_stress.errors import BadCheckpoint, IdentityChanged, NotHere
from vjepa_stress.interfaces import DType

CARDS = Path(__file__).parents[2] / "conf" / "model"
CPU = torch.device("cpu")
NAME = "giant_e32h2"
CONFIG = config_of(NAME)
SMALL = VJEPA21Config(embed_dim=12, depth=12, num_heads=2, patch_size=4)


@pytest.fixture
def state() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return {f"module.backbone.{name}": value for name, value in VJEPA21(SMALL).state_dict().items()}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture
def encoder(tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Released:
    """A small checkpoint that stands for the base one."""
    monkeypatch.setitem(SIZES, "base", SMALL)
    save(tmp_path / "small.pt", {"ema_encoder": state})
    return Released(size="base", file="small.pt", url="https://example.org/small.pt", key="ema_encoder", sha256=None)


def test_loading_leaves_every_bit_and_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model = load_released(SHIPPED / f"{NAME}.pt", CONFIG)
    assert torch.equal(torch.get_rng_state(), before)
    raw = torch.load(SHIPPED / f"{NAME}.pt", weights_only=True)["target_encoder"]
    assert len(raw) == len(model.state_dict())
    assert all(torch.equal(model.state_dict()[name.removeprefix("module.backbone.")], raw[name]) for name in raw)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_half_precision_checkpoints_load_exactly(tmp_path: Path, state: dict[str, Tensor]) -> None:
    half = {name: value.bfloat16() for name, value in state.items()}
    model = load_released(save(tmp_path / "half.pt", {"ema_encoder": half}), SMALL)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, half[f"module.backbone.{name}"].float())


def test_the_weights_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    shutil.copyfile(SHIPPED / f"{NAME}.pt", path)
    model = load_released(path, CONFIG)
    with path.open("r+b") as stream:
        stream.write(bytes(path.stat().st_size))
    whole = load_released(SHIPPED / f"{NAME}.pt", CONFIG).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in model.state_dict().items())


def test_the_older_layout_of_torch_save_is_read(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "old.pt"
    torch.save({"target_encoder": state}, path, _use_new_zipfile_serialization=False)
    model = load_released(path, SMALL)
    assert torch.equal(model.state_dict()["img_mod_embed"], state["module.backbone.img_mod_embed"])


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "backbone.module."])
def test_prefixes_are_stripped(tmp_path: Path, state: dict[str, Tensor], prefix: str) -> None:
    renamed = {prefix + name.removeprefix("module.backbone."): value for name, value in state.items()}
    weights = load_released(save(tmp_path / "x.pt", {"ema_encoder": renamed}), SMALL).state_dict()
    assert len(weights) == len(state)
    assert all(torch.equal(weights[name.removeprefix("module.backbone.")], state[name]) for name in state)


def test_the_entry_is_found_or_asked_for(tmp_path: Path, state: dict[str, Tensor]) -> None:
    zeros = {name: torch.zeros_like(value) for name, value in state.items()}
    only = save(tmp_path / "only.pt", {"encoder": zeros, "target_encoder": state, "opt": {"lr": [1e-3]}, "epoch": 3})
    assert load_released(only, SMALL).patch_embed.proj.weight.any()
    assert not load_released(only, SMALL, key="encoder").patch_embed.proj.weight.any()
    both = save(tmp_path / "both.pt", {"ema_encoder": zeros, "target_encoder": state})
    with pytest.raises(BadCheckpoint, match="which entry"):
        load_released(both, SMALL)
    assert load_released(both, SMALL, key="target_encoder").patch_embed.proj.weight.any()
    for content in ({"encoder": state}, {"ema_encoder": 3}, {}, [state], torch.zeros(3)):
        with pytest.raises(BadCheckpoint, match="which entry"):
            load_released(save(tmp_path / "neither.pt", content), SMALL)
    with pytest.raises(BadCheckpoint, match="ema_encoder"):
        load_released(only, SMALL, key="ema_encoder")


def _drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(f"module.backbone.{name}")


def _put(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({f"module.backbone.{name}": value})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop("blocks.3.attn.qkv.bias"), r"missing: blocks\.3\.attn\.qkv\.bias"),
        (_drop("img_mod_embed"), "missing: img_mod_embed"),
        (_put("pos_embed", torch.zeros(3)), "unexpected: pos_embed"),
        (
            _put("norms_block.0.bias", torch.zeros(13)),
            r"norms_block\.0\.bias does not fit(.|\n)*\(12,\)(.|\n)*\(13,\)",
        ),
        (_put("norms_block.0.bias", torch.zeros(12, 1)), r"norms_block\.0\.bias does not fit"),
        (_put("norms_block.0.bias", 3), r"norms_block\.0\.bias does not fit(.|\n)*int"),
        (_put("norms_block.0.bias", torch.full((12,), torch.nan)), r"norms_block\.0\.bias contains NaN"),
        (_put("norms_block.0.bias", torch.full((12,), -torch.inf)), r"norms_block\.0\.bias contains NaN"),
        (_put("norms_block.0.bias", torch.zeros(12, dtype=torch.float64)), r"norms_block\.0\.bias has .*format"),
        (_put("norms_block.0.bias", torch.zeros(12, dtype=torch.int32)), r"norms_block\.0\.bias has .*format"),
        (_put("norms_block.0.bias", torch.zeros(12).to_sparse()), r"norms_block\.0\.bias has .*format"),
        (_put("backbone.img_mod_embed", torch.zeros(1, 1, 12)), "img_mod_embed with two prefixes"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, state: dict[str, Any], damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    damage(state)
    with pytest.raises(BadCheckpoint, match=message):
        load_released(save(tmp_path / "x.pt", {"ema_encoder": state}), SMALL)


def test_another_size_is_refused() -> None:
    with pytest.raises(BadCheckpoint, match=r"494 tensors; unexpected: blocks\.12\.norm1\.weight.* and 331 more"):
        load_released(SHIPPED / f"{NAME}.pt", CONFIG.model_copy(update={"depth": 12}))
    with pytest.raises(BadCheckpoint, match="does not fit"):
        load_released(SHIPPED / f"{NAME}.pt", CONFIG.model_copy(update={"embed_dim": 64}))


class Touch:
    """Unpickled by an ordinary loader, this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("layout", ["zip", "old", "protocol 2", "protocol 4"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, layout: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    content = {"ema_encoder": Touch(marker)}
    if layout in ("zip", "old"):
        torch.save(content, path, _use_new_zipfile_serialization=layout == "zip")
    else:
        path.write_bytes(pickle.dumps(content, protocol=int(layout[-1])))
    with pytest.raises(BadCheckpoint) as caught:
        load_released(path, SMALL)
    assert not marker.exists()
    assert "weights_only" not in str(caught.value), "torch's own message explains how to run it"
    if layout == "zip":
        assert "system" in str(caught.value)
        torch.load(path, weights_only=False)
        assert marker.exists(), "the attack is a real one"


@pytest.mark.parametrize("kind", ["absent", "folder", "empty", "text", "pickle", "cut", "stub", "zip"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, kind: str) -> None:
    whole, path = (SHIPPED / f"{NAME}.pt").read_bytes(), tmp_path / "x.pt"
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("<html>You are not logged in</html>\n" * 100)
        case "pickle":
            path.write_bytes(pickle.dumps({"a": np.arange(3)}))
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "stub":
            path.write_bytes(whole[:200])
        case "zip":
            shutil.make_archive(str(tmp_path / "x"), "zip", SHIPPED, "README.md")
            (tmp_path / "x.zip").rename(path)
    with pytest.raises(BadCheckpoint, match=re.escape(str(path))) as caught:
        load_released(path, CONFIG)
    assert caught.value.exit_code == 2


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pt"
    shutil.copyfile(SHIPPED / f"{NAME}.pt", path)
    load = torch.load

    def slow_load(*args: Any, **options: Any) -> Any:
        with path.open("ab") as stream:
            stream.write(b"\0")
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", slow_load)
    with pytest.raises((IdentityChanged, BadCheckpoint)):
        load_released(path, CONFIG)


def test_what_is_loaded_is_what_was_hashed_even_when_the_name_moves_on(
    tmp_path: Path, encoder: Released, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that gets the name between hashing and reading is not the one read."""
    store, other = tmp_path / "store", tmp_path / "other"
    store.mkdir()
    other.mkdir()
    (tmp_path / "small.pt").rename(store / "small.pt")
    save(other / "small.pt", {"ema_encoder": {name: torch.ones_like(value) for name, value in state.items()}})
    known = sha256_file(store / "small.pt")
    build, models = released.pixel_encoder, list[VJEPA21]()

    def then_swap(stream: Any) -> Any:
        digest = sha256_stream(stream)
        # The folders, not the files: that leaves no trace in the file that is open.
        store.rename(tmp_path / "moved")
        other.rename(store)
        return digest

    def keep(model: VJEPA21, *rest: Any) -> Any:
        models.append(model)
        return build(model, *rest)

    monkeypatch.setattr(released, "sha256_stream", then_swap)
    monkeypatch.setattr(released, "pixel_encoder", keep)
    assert encoder.load(store, CPU, "float32", compiled=False).weights == known
    weights = models[0].state_dict()
    assert all(torch.equal(weights[name.removeprefix("module.backbone.")], value) for name, value in state.items())


def test_the_identity_is_the_digest_of_the_file(tmp_path: Path, encoder: Released) -> None:
    digest = "sha256:" + hashlib.sha256((tmp_path / "small.pt").read_bytes()).hexdigest()
    assert encoder.identify(tmp_path) == digest
    assert encoder.load(tmp_path, CPU, "float32", compiled=False).weights == digest
    pinned = encoder.model_validate(encoder.model_dump() | {"sha256": digest})
    assert pinned.identify(tmp_path) == digest
    record_of(tmp_path / "small.pt").write_text(f"{digest[7:]}  small.pt\n")
    assert pinned.identify(tmp_path) == encoder.identify(tmp_path) == digest


@pytest.mark.parametrize("act", ["identify", "load"])
def test_other_weights_under_the_same_name_are_refused(tmp_path: Path, encoder: Released, act: str) -> None:
    def use(encoder: Released) -> object:
        if act == "identify":
            return encoder.identify(tmp_path)
        return encoder.load(tmp_path, CPU, "float32", compiled=False)

    with pytest.raises(IdentityChanged, match="pinned") as caught:
        use(encoder.model_copy(update={"sha256": "sha256:" + "0" * 64}))
    assert caught.value.exit_code == 3
    record = record_of(tmp_path / "small.pt")
    for text in ("1" * 64 + "  small.pt\n", "garbage", "", f"{sha256_file(tmp_path / 'small.pt').hex}  other.pt\n"):
        record.write_text(text)
        with pytest.raises(IdentityChanged):
            use(encoder)


def test_absent_weights_say_how_to_get_them(tmp_path: Path, encoder: Released) -> None:
    with pytest.raises(NotHere, match=r"nowhere/small\.pt(.|\n)*vjepa-stress fetch base"):
        encoder.identify(tmp_path / "nowhere")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 0.1)])
def test_pixels_are_normalised_and_features_laid_out_as_a_grid(
    tmp_path: Path, encoder: Released, dtype: DType, tolerance: float
) -> None:
    video = torch.rand(2, 3, 6, 12, 20, generator=torch.Generator().manual_seed(0))
    features = encoder.load(tmp_path, CPU, dtype, compiled=False).encode(video)
    assert features.shape == (2, 3, 3, 5, 12)
    assert features.dtype == torch.float32
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = (video.numpy() - mean[:, None, None, None]) / std[:, None, None, None]
    tokens = load_released(tmp_path / "small.pt", SMALL)(torch.from_numpy(normalised).float())
    for t, h, w in ((0, 0, 0), (0, 2, 1), (1, 0, 4), (2, 2, 4)):
        expected = tokens[:, t * 15 + h * 5 + w]
        torch.testing.assert_close(features[:, t, h, w], expected, rtol=0, atol=tolerance)


_COMPILED = """
import sys, torch
from pathlib import Path
from vjepa_stress.encoders.released import load_released, pixel_encoder
from tests.encoders import SHIPPED, config_of
torch.set_num_threads(1)
torch._dynamo.config.recompile_limit = 1  # a sweep over many models reaches torch's own limit
path, config, cpu = SHIPPED / "giant_e32h2.pt", config_of("giant_e32h2"), torch.device("cpu")
eager = pixel_encoder(load_released(path, config), cpu, "float32", compiled=False)
compiled = pixel_encoder(load_released(path, config), cpu, "float32", compiled=True)
video = torch.rand(2, 3, 4, 48, 32)
torch.testing.assert_close(compiled(video), eager(video), rtol=0, atol=2e-5)
import torch._dynamo.utils
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # for 40 blocks
torch.testing.assert_close(compiled(video[:1]), eager(video[:1]), rtol=0, atol=2e-5)
"""


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler for torch.compile")
def test_compiled_features_agree_with_eager_ones_and_blocks_share_one_compilation() -> None:
    # In a separate process, because the shape checks that tests enable must not be compiled.
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _COMPILED], check=True, timeout=600, cwd=root)


def test_cards_name_metas_files() -> None:
    for size, file in (
        ("base", "vjepa2_1_vitb_dist_vitG_384.pt"),
        ("large", "vjepa2_1_vitl_dist_vitG_384.pt"),
        ("giant", "vjepa2_1_vitg_384.pt"),
        ("gigantic", "vjepa2_1_vitG_384.pt"),
    ):
        text = (CARDS / f"{size}.yaml").read_text()
        fields = yaml.safe_load(text)
        assert fields.pop("_target_") == f"{Released.__module__}.Released"
        encoder = Released.model_validate(fields)
        assert (encoder.size, encoder.file) == (size, file)
        assert encoder.url == f"https://dl.fbaipublicfiles.com/vjepa2/{file}"
        assert encoder.key == ("ema_encoder" if size in ("base", "large") else "target_encoder")
        assert not encoder.untrained
        with torch.device("meta"):
            model = VJEPA21(SIZES[encoder.size])
        parameters = sum(p.numel() for p in model.parameters())
        assert f"{parameters:,} in {len(model.state_dict())} tensors".replace(",", " ") in text
        assert f"{parameters * 4 / 1e9:.2f} GB of weights in float32" in text


@pytest.mark.parametrize(
    "mistake",
    [
        {"file": "../base.pt"},
        {"file": "/etc/passwd"},
        {"file": ".."},
        {"file": ""},
        {"url": "file:///etc/passwd"},
        {"url": "ftp://example.org/x.pt"},
        {"url": "https://example.org"},
        {"size": "huge"},
        {"sha256": "00"},
        {"strict": False},
    ],
)
def test_a_card_with_a_mistake_is_refused(encoder: Released, mistake: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Released.model_validate(encoder.model_dump() | mistake)
