"""DAVIS-2017: frames and masks through one geometry, and everything that can be wrong with a copy."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data import trees
from vjepa_stress.data.davis import Davis
from vjepa_stress.data.inspection import ReadOptions, inspecting
from vjepa_stress.data.video import fit, fit_masks
from vjepa_stress.errors import BadInput, BadVideo, NotHere
from vjepa_stress.sweep.bind import Blocks

SEQUENCES = {"bear": 31, "camel-run": 33, "dog_2": 40}


def davis(n_clips: int = 3, step: int = 2) -> Davis:
    return Davis(n_clips=n_clips, step=step, split="val", year="2017", size="480p")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return trees.davis(tmp_path / "DAVIS", SEQUENCES)


def frame(home: Path, name: str, number: int) -> Path:
    return home / "JPEGImages" / "480p" / name / f"{number:05d}.jpg"


def mask(home: Path, name: str, number: int) -> Path:
    return home / "Annotations" / "480p" / name / f"{number:05d}.png"


def test_what_is_identified_is_what_is_read(home: Path) -> None:
    data_set = davis()
    clips = data_set.identify(home, 16)
    assert [clip.name for clip in clips] == list(SEQUENCES)
    assert data_set.identify(home.parent, 16) == clips
    assert davis(2).identify(home, 16) == clips[:2]
    for clip in clips:
        assert clip.frames == tuple(range(0, 31, 2))
        sample = data_set.read(clip, home, 48)
        assert sample.digest == clip.digest
        assert sample.masks is not None
        images = [np.asarray(Image.open(frame(home, clip.name, i)).convert("RGB")) for i in clip.frames]
        whole = torch.from_numpy(np.stack(images).transpose(3, 0, 1, 2).copy())
        assert torch.equal(sample.pixels, fit(whole, 48))
        ids = torch.from_numpy(np.stack([trees.objects(i, *images[0].shape[:2]) for i in clip.frames])).long()
        # Objects by palette index; void is background.
        assert torch.equal(sample.masks, fit_masks(torch.where(ids == 255, 0, ids), 48))
        assert set(sample.masks.unique().tolist()) == {0, 1, 3}  # type: ignore[no-untyped-call]


def test_every_byte_counts(home: Path) -> None:
    data_set = davis()
    clips = data_set.identify(home, 16)
    for path in (frame(home, "bear", 4), mask(home, "bear", 30)):
        data = path.read_bytes()
        path.write_bytes(data + b"\0")
        assert data_set.read(clips[0], home, 32).digest != clips[0].digest
        assert data_set.identify(home, 16)[0] != clips[0]
        assert data_set.identify(home, 16)[1:] == clips[1:]
        path.write_bytes(data)
    assert data_set.identify(home, 16) == clips
    # Frames that no clip shows do not.
    frame(home, "bear", 5).write_bytes(b"")
    assert data_set.identify(home, 16) == clips


def test_a_second_look_reads_nothing(home: Path) -> None:
    clips, read = davis().identify(home, 16), []
    with inspecting(ReadOptions(progress=lambda _, name: read.append(name))):
        assert davis().identify(home, 16) == clips
    assert not read


def larger(path: Path) -> None:
    image = np.zeros((100, 200), np.uint8)
    path.write_bytes(trees.palette_png(image))


def coloured(path: Path) -> None:
    file = io.BytesIO()
    Image.open(path).convert("RGB").save(file, "PNG")
    path.write_bytes(file.getvalue())


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("where", "change", "words"),
    [
        (mask, larger, "another size than the first frame"),
        (mask, coloured, "colours instead of object ids"),
        (mask, cut, "damaged"),
        (mask, Path.unlink, "cannot be read"),
        (frame, cut, "damaged"),
        (frame, Path.unlink, "cannot be read"),
        (frame, lambda path: path.write_bytes(b"text"), "damaged or has another format"),
    ],
)
def test_a_file_that_cannot_be_used(
    home: Path, where: Callable[[Path, str, int], Path], change: Callable[[Path], object], words: str
) -> None:
    path = where(home, "camel-run", 8)
    change(path)
    with pytest.raises(BadVideo, match=words) as error:
        davis().identify(home, 16)
    assert str(path.relative_to(home)) in str(error.value)
    assert error.value.fix


def test_all_that_is_wrong_is_named_at_once(home: Path) -> None:
    frame(home, "bear", 2).unlink()
    larger(mask(home, "camel-run", 6))
    cut(mask(home, "dog_2", 0))
    with pytest.raises(BadVideo, match="3 sequences or files") as error:
        davis().identify(home, 16)
    for part in ("bear/00002.jpg", "camel-run/00006.png", "dog_2/00000.png"):
        assert part in str(error.value)


def test_sequences_that_are_too_short_or_not_there(home: Path) -> None:
    with pytest.raises(BadVideo, match="too short") as error:
        davis(1, step=3).identify(home, 16)
    assert error.value.found == "31 frames"
    assert len(davis(3, step=3).identify(home, 8)) == 3
    (home / "ImageSets" / "2017" / "val.txt").write_text("bear\nlion\ncamel-run\n")
    with pytest.raises(BadVideo, match="does not exist"):
        davis().identify(home, 16)


@pytest.mark.parametrize("text", ["bear\n", "bear\nbear\ncamel-run\n", "bear\n../bear\ncamel-run\n", ""])
def test_lists_that_cannot_be_used(home: Path, text: str) -> None:
    (home / "ImageSets" / "2017" / "val.txt").write_text(text)
    with pytest.raises(BadInput, match="list of sequences"):
        davis().identify(home, 16)


def test_places_that_are_not_the_data_set(tmp_path: Path, home: Path) -> None:
    with pytest.raises(NotHere, match=r"exec\.data"):
        davis().identify(None, 16)
    for place in (tmp_path / "nothing", home / "ImageSets"):
        with pytest.raises(BadInput, match="not the folder of DAVIS"):
            davis().identify(place, 16)
    clip = davis().identify(home, 16)[0]
    with pytest.raises(BadInput, match="not the name"):
        davis().read(clip.model_copy(update={"name": "../bear"}), home, 32)
    with pytest.raises(BadVideo, match="cannot be read"):
        davis().read(clip.model_copy(update={"name": "lion"}), home, 32)


def test_the_shipped_configuration() -> None:
    assert Blocks().dataset("davis") == davis(30)
