"""Which files of a folder are taken for videos, and under which names."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vjepa_stress.data.container import SUFFIXES
from vjepa_stress.data.listing import list_videos
from vjepa_stress.errors import BadInput


def put(home: Path, *names: str) -> Path:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(name.encode())
    return home


def test_names_are_paths_within_the_folder(tmp_path: Path) -> None:
    home = put(tmp_path / "home", "b.mp4", "a/b.webm", "a/c/d.MKV", "notes.txt", "mp4")
    assert list_videos(home) == {name: home / name for name in ("b.mp4", "a/b.webm", "a/c/d.MKV")}


def test_every_known_suffix_in_any_case(tmp_path: Path) -> None:
    names = {f"{number}{suffix}" for number, suffix in enumerate(sorted(SUFFIXES))}
    names |= {f"{number}{suffix.upper()}" for number, suffix in enumerate(sorted(SUFFIXES), start=50)}
    assert set(list_videos(put(tmp_path, *names, "a.mp3", "a.gif"))) == names


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", ".b.mp4", ".git/c.mp4", "d/.e/f.mp4")
    assert set(list_videos(tmp_path)) == {"a.mp4"}
    assert set(list_videos(put(tmp_path / ".git"))) == {"c.mp4"}  # unless it is the folder asked for


def test_the_folder_may_be_a_link_and_need_not_be_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "home", "a.mp4")
    (tmp_path / "link").symlink_to("home")
    monkeypatch.chdir(tmp_path)
    for home in (Path("home"), Path("link"), tmp_path / "link"):
        assert list_videos(home) == {"a.mp4": (tmp_path / "home" / "a.mp4")}


def test_a_broken_link_stays_listed(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "gone.mp4")
    assert set(list_videos(tmp_path)) == {"a.mp4", "b.mp4"}


def test_of_links_to_one_file_the_first_by_name_counts(tmp_path: Path) -> None:
    put(tmp_path, ".store/one", ".store/two")
    for name, target in (("z.mp4", "one"), ("y.mp4", "one"), ("x.mp4", "two"), ("w.mp4", "x.mp4")):
        (tmp_path / name).symlink_to(tmp_path / (f".store/{target}" if target in {"one", "two"} else target))
    assert set(list_videos(tmp_path)) == {"w.mp4", "y.mp4"}


def test_folders_that_are_links_are_not_entered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = put(tmp_path / "home", "a.mp4", "sub/b.mp4")
    put(tmp_path / "outside", "c.mp4")
    (home / "again").symlink_to(home / "sub")
    (home / "loop").symlink_to(home)
    with caplog.at_level(logging.WARNING):
        assert set(list_videos(home)) == {"a.mp4", "sub/b.mp4"}
        assert not caplog.records
        (home / "away").symlink_to(tmp_path / "outside")
        assert set(list_videos(home)) == {"a.mp4", "sub/b.mp4"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "away" in caplog.text


def test_two_spellings_of_one_name_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "e\u0301.mp4")
    assert set(list_videos(tmp_path)) == {"\u00e9.mp4"}
    put(tmp_path, "\u00e9.mp4")
    with pytest.raises(BadInput) as error:
        list_videos(tmp_path)
    assert error.value.found == "\u00e9.mp4"


def test_a_folder_without_videos_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        list_videos(put(tmp_path, "a.txt", "b/c.jpg"))
    assert error.value.where == tmp_path
    assert "2 other files" in str(error.value.found)
    for home, found in ((tmp_path / "a.txt", "a file"), (tmp_path / "none", "nothing")):
        with pytest.raises(BadInput) as error:
            list_videos(home)
        assert error.value.found == found
