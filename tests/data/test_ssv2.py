"""Something-Something V2: choice of videos, spread of frames, and everything that can be wrong with a copy."""

from __future__ import annotations

import io
import json
import logging
import os
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.data import trees
from vjepa_stress.data.inspection import ReadOptions, inspecting
from vjepa_stress.data.ssv2 import Label, SSv2, choose, read_labels, spread
from vjepa_stress.data.video import decode, fit
from vjepa_stress.digest import sha256
from vjepa_stress.errors import BadInput, BadVideo, NotHere
from vjepa_stress.sweep.bind import Blocks


def ssv2(n_clips: int = 6, seed: int = 1) -> SSv2:
    return SSv2(n_clips=n_clips, selection_seed=seed, labels="validation.json")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return trees.small_ssv2(tmp_path / "ssv2")


def test_what_is_identified_is_what_is_read(home: Path) -> None:
    data_set = ssv2(9)
    clips = data_set.identify(home, 16)
    assert {clip.name for clip in clips} == {f"{n}.webm" for n in range(100, 109)}
    for clip in clips:
        data = (home / "20bn-something-something-v2" / clip.name).read_bytes()
        count = 16 + 4 * (int(clip.name[:3]) - 100)
        assert (clip.frames[0], clip.frames[-1], len(set(clip.frames))) == (0, count - 1, 16)
        assert clip.source == sha256(data)
        sample = data_set.read(clip, home, 32)
        assert sample.digest == clip.digest
        assert sample.masks is None
        assert torch.equal(sample.pixels, fit(decode(data, clip.frames, clip.name), 32))


def test_the_choice_needs_nothing_but_labels_and_seed(home: Path) -> None:
    everything = ssv2(9).identify(home, 16)
    for count in (1, 3, 8):
        assert ssv2(count).identify(home, 16) == everything[:count]
    assert {tuple(c.name for c in ssv2(4, seed).identify(home, 16)) for seed in range(6)} != {
        tuple(c.name for c in everything[:4])
    }
    path = home / "labels" / "validation.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    assert ssv2(9).identify(home, 16) == everything


@pytest.mark.parametrize("layout", ["videos", "."])
def test_other_places_for_the_same_files(home: Path, layout: str) -> None:
    before = ssv2().identify(home, 16)
    if layout == "videos":
        (home / "20bn-something-something-v2").rename(home / "videos")
    else:
        for path in (*(home / "20bn-something-something-v2").iterdir(), home / "labels" / "validation.json"):
            path.rename(home / path.name)
    assert ssv2().identify(home, 16) == before
    assert ssv2().read(before[0], home, 32).digest == before[0].digest


@pytest.mark.parametrize("count", [1, 50, 174, 200, 999])
def test_every_template_has_its_share(count: int) -> None:
    draws = np.random.default_rng(0)
    sizes = draws.integers(3, 120, 174)
    labels = [Label(f"{1000 * t + k}", f"template {t}") for t, size in enumerate(sizes) for k in range(size)]
    for seed in (1, 2):
        chosen = choose(labels, count, seed)
        assert len(set(chosen)) == len(chosen) == count
        drawn = Counter(label.template for label in chosen)
        for t, size in enumerate(sizes):
            share = count * size / len(labels)
            # Within one of the exact share, and the sum of all offsets' luck for the place where the choice ends.
            assert abs(drawn[f"template {t}"] - share) < 1 + 15 * size / len(labels)
    assert choose(labels, count, 1) == choose(labels[::-1], count, 1)


@pytest.mark.parametrize("available", [16, 17, 31, 48, 49, 500])
def test_frames_are_spread_evenly(available: int) -> None:
    indices = spread(available, 16, "a.webm")
    assert (indices[0], indices[-1]) == (0, available - 1)
    steps = np.diff(indices)
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1
    assert np.abs(np.array(indices) - np.linspace(0, available - 1, 16)).max() <= 0.5
    with pytest.raises(BadVideo, match="too short"):
        spread(15, 16, "a.webm")


def damaged_inside(data: bytes) -> bytes:
    """The file with all bytes of a late packet set to 255; its container is whole."""
    with av.open(io.BytesIO(data), "r") as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][-3]
        assert packet.pos is not None
        start, size = packet.pos, packet.size
    payload = bytes(packet)
    start = data.index(payload, start)
    return data[:start] + b"\xff" * size + data[start + size :]


def test_damaged_and_missing_videos_are_listed_together_and_nothing_is_put_in_their_place(home: Path) -> None:
    folder = home / "20bn-something-something-v2"
    whole = (folder / "100.webm").read_bytes()
    (folder / "100.webm").write_bytes(whole[: len(whole) // 2])
    (folder / "101.webm").unlink()
    (folder / "102.webm").write_bytes(b"no video at all")
    (folder / "103.webm").write_bytes(trees.webm(0, 12))
    (folder / "104.webm").write_bytes(damaged_inside((folder / "104.webm").read_bytes()))
    with pytest.raises(BadVideo, match="5 of the 9 chosen videos cannot be used") as error:
        ssv2(9).identify(home, 16)
    text = str(error.value)
    for name, words in (
        ("100", "truncated"),
        ("101", "cannot be read"),
        ("102", "not a video"),
        ("103", "too short (12 frames)"),
        ("104", "damaged"),
    ):
        assert any(f"{name}.webm" in line and words in line for line in text.splitlines()), text
    assert "no other files replace them" in text
    (folder / "100.webm").write_bytes(whole)
    # What was whole stays remembered, what was damaged does not.
    with pytest.raises(BadVideo, match="4 of the 9"):
        ssv2(9).identify(home, 16)


def test_labels_of_videos_that_are_not_there(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = home / "labels" / "validation.json"
    entries = json.loads(path.read_text()) + [trees.label(number, "Unknown [thing]") for number in range(900, 912)]
    path.write_text(json.dumps(entries))
    with caplog.at_level(logging.WARNING), pytest.raises(BadVideo, match="12 of the 21"):
        ssv2(21).identify(home, 16)
    assert "12 of the 21 videos in validation.json are missing in" in caplog.text
    chosen = choose(read_labels(path), 1, 1)
    assert ssv2(1).identify(home, 16)[0].name == f"{chosen[0].number}.webm" or int(chosen[0].number) >= 900


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("{}", "not a list"),
        ("[]", "not a list"),
        ('[{"id": "1"}]', "1 of 1 labels"),
        ('[{"id": 1, "template": "a"}]', "1 of 1 labels"),
        ('[{"id": "../1", "template": "a"}, 3]', "2 of 2 labels"),
        ('[{"id": "1", "template": "a"}, {"id": "1", "template": "b"}]', "1 of 2 labels"),
    ],
)
def test_labels_that_cannot_be_used(home: Path, text: str, words: str) -> None:
    (home / "labels" / "validation.json").write_text(text)
    with pytest.raises(BadInput, match=words) as error:
        ssv2(1).identify(home, 16)
    assert "validation.json" in str(error.value)


def test_places_that_are_not_the_data_set(tmp_path: Path, home: Path) -> None:
    with pytest.raises(NotHere, match=r"exec\.data"):
        ssv2().identify(None, 16)
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(BadInput, match="not the folder of Something"):
            ssv2().identify(place, 16)
    with pytest.raises(BadInput, match="not enough videos"):
        ssv2(10).identify(home, 16)
    clip = ssv2(1).identify(home, 16)[0]
    with pytest.raises(BadInput, match="not the name"):
        ssv2().read(clip.model_copy(update={"name": "../100.webm"}), home, 32)
    with pytest.raises(ValidationError):
        SSv2(n_clips=1, selection_seed=0, labels="../labels.json")


def test_the_same_video_under_two_numbers(home: Path) -> None:
    folder = home / "20bn-something-something-v2"
    (folder / "104.webm").write_bytes((folder / "105.webm").read_bytes())
    with pytest.raises(BadInput, match="have the same content"):
        ssv2(9).identify(home, 16)


def read_count(home: Path, full: bool = False) -> int:
    read: list[str] = []
    with inspecting(ReadOptions(full=full, progress=lambda _, name: read.append(name))):
        ssv2(9).identify(home, 16)
    return len(read)


def test_a_second_look_reads_nothing_a_full_one_everything(home: Path) -> None:
    first = ssv2(9).identify(home, 16)
    assert read_count(home) == 0
    assert read_count(home, full=True) == 9
    assert ssv2(9).identify(home, 16) == first
    path = home / "20bn-something-something-v2" / "103.webm"
    os.utime(path)
    assert read_count(home) == 1
    # Other bytes of the same size, under the same times: the change of the inode's own time gives it away.
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_count(home) == 1


def test_the_shipped_configuration() -> None:
    data_set = Blocks().dataset("ssv2")
    assert data_set == SSv2(n_clips=200, selection_seed=21, labels="validation.json")
