"""Weights in safetensors: exact values, strict fit, pinned bytes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vjepa_stress.digest import Digest, sha256_file
from vjepa_stress.encoders.released import assemble, pixel_encoder
from vjepa_stress.encoders.seeded import draw_weights
from vjepa_stress.encoders.stored import SHIPPED, Stored
from vjepa_stress.errors import BadCheckpoint, IdentityChanged, NotHere

CPU = torch.device("cpu")


def stored(**more: object) -> Stored:
    sizes = {"embed_dim": 24, "depth": 12, "num_heads": 2, "mlp_ratio": 2.0, "patch_size": 8, "tubelet_size": 2}
    return Stored.model_validate({**sizes, "file": "small.safetensors", "sha256": None, **more})


@pytest.fixture
def half() -> dict[str, Tensor]:
    return {name: value.half() for name, value in draw_weights(stored().architecture, 1).items()}


def test_half_precision_is_loaded_exactly(tmp_path: Path, half: dict[str, Tensor]) -> None:
    save_file(half, tmp_path / "small.safetensors")
    loaded = stored().load(tmp_path, CPU, "float32", False)
    assert loaded.weights == stored().identify(tmp_path) == sha256_file(tmp_path / "small.safetensors")
    model = assemble(stored().architecture, {name: value.float() for name, value in half.items()})
    video = torch.rand(1, 3, 4, 32, 32)
    assert torch.equal(loaded.encode(video), pixel_encoder(model, CPU, "float32", False)(video))


def test_what_does_not_fit_is_refused(tmp_path: Path, half: dict[str, Tensor]) -> None:
    name = next(iter(half))
    path = tmp_path / "small.safetensors"
    for spoilt, text in (
        ({k: v for k, v in half.items() if k != name}, name),
        ({**half, "more": half[name].clone()}, "more"),
        ({**half, name: half[name].flatten()[:1].clone()}, name),
        ({**half, name: torch.full_like(half[name], torch.nan)}, "NaN"),
    ):
        save_file(spoilt, path)
        with pytest.raises(BadCheckpoint, match=text):
            stored().load(tmp_path, CPU, "float32", False)
    path.write_bytes(b"not at all")
    with pytest.raises(BadCheckpoint, match="safetensors"):
        stored().load(tmp_path, CPU, "float32", False)


def test_number_formats_that_torch_lacks_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    header = json.dumps({"norm.bias": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BadCheckpoint, match="that torch can read"):
        stored().load(tmp_path, CPU, "float32", False)
    path.unlink()
    loop = tmp_path / "loop.safetensors"
    loop.symlink_to(loop)
    with pytest.raises(NotHere):
        stored(file="loop.safetensors").identify(tmp_path)


def test_weights_of_your_own_under_a_shipped_name_are_not_ignored(tmp_path: Path, half: dict[str, Tensor]) -> None:
    shipped = SHIPPED / "pocket_a.safetensors"
    (tmp_path / shipped.name).write_bytes(shipped.read_bytes())
    assert stored(file=shipped.name).identify(tmp_path) == sha256_file(shipped), "the same bytes are the same file"
    save_file(half, tmp_path / shipped.name)
    with pytest.raises(IdentityChanged, match="have the same name"):
        stored(file=shipped.name).identify(tmp_path)


def test_other_bytes_and_none(tmp_path: Path, half: dict[str, Tensor]) -> None:
    with pytest.raises(NotHere, match="train the model"):
        stored().identify(tmp_path)
    save_file(half, tmp_path / "small.safetensors")
    pinned = stored(sha256=Digest("sha256:" + "0" * 64))
    with pytest.raises(IdentityChanged, match="do not have the known digest"):
        pinned.load(tmp_path, CPU, "float32", False)
