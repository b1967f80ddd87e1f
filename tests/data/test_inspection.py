"""Looking at many files: what is read, what is remembered, and how failures are put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from vjepa_stress.data.inspection import (
    Facts,
    Inspected,
    ReadOptions,
    bytes_of,
    different,
    inspect,
    inspecting,
    unusable,
)
from vjepa_stress.digest import sha256
from vjepa_stress.errors import BadInput, BadVideo, CellsIncomplete


class Look:
    """Measures files, refuses empty ones, and keeps count of what it was shown."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, data: bytes, path: Path) -> Facts:
        self.seen.append(path.name)
        if not data:
            raise BadVideo("the file is empty", where=path)
        return {"size": len(data)}


def files(folder: Path, contents: Mapping[str, bytes]) -> dict[str, Path]:
    found = {}
    for name, data in contents.items():
        found[name] = path = folder / f"{name}.bin"
        path.write_bytes(data)
    return found


def test_digest_and_facts_come_from_the_bytes(tmp_path: Path) -> None:
    contents = {"b": b"two", "a": b"three", "c": b""}
    found, failures = inspect(files(tmp_path, contents), "test-1", Look())
    assert list(found.items()) == [
        (name, Inspected(sha256(contents[name]), {"size": len(contents[name])})) for name in "ba"
    ]
    assert [(failure.what, failure.where) for failure in failures] == [("the file is empty", tmp_path / "c.bin")]


def test_failures_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    names = [f"{number * 7 % 40:02}" for number in range(40)]
    _, failures = inspect(files(tmp_path, dict.fromkeys(names, b"")), "test-1", Look())
    assert [Path(str(failure.where)).stem for failure in failures] == names


def test_a_thousand_files_are_read_once(tmp_path: Path) -> None:
    there, look = files(tmp_path, {str(number): number.to_bytes(2, "big") for number in range(1000)}), Look()
    first = inspect(there, "test-1", look)
    assert len(look.seen) == 1000
    assert inspect(there, "test-1", look) == first
    assert len(look.seen) == 1000
    # Another look at the same files knows nothing of the first.
    inspect(there, "test-2", look)
    assert len(look.seen) == 2000


def test_what_changed_is_read_again(tmp_path: Path) -> None:
    there, look = files(tmp_path, {"a": b"one", "b": b"two"}), Look()
    inspect(there, "test-1", look)
    os.utime(there["b"], ns=(1, 1))
    look.seen.clear()
    inspect(there, "test-1", look)
    assert look.seen == ["b.bin"]
    there["a"].write_bytes(b"other")
    found, _ = inspect(there, "test-1", look)
    assert found["a"] == Inspected(sha256(b"other"), {"size": 5})


def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    there, look = files(tmp_path, {"a": b""}), Look()
    for _ in range(2):
        assert len(inspect(there, "test-1", look)[1]) == 1
    assert len(look.seen) == 2


def test_everything_can_be_read_again_and_progress_names_what_is_read(tmp_path: Path) -> None:
    there, look = files(tmp_path, {"a": b"one", "b": b"", "c": b"three"}), Look()
    said: list[tuple[int, str]] = []
    manner = ReadOptions(progress=lambda total, name: said.append((total, name)))
    with inspecting(manner):
        inspect(there, "test-1", look)
    assert said == [(3, "a"), (3, "b"), (3, "c")]
    said.clear()
    with inspecting(manner):
        inspect(there, "test-1", look)
    assert said == [(1, "b")]
    look.seen.clear()
    with inspecting(ReadOptions(full=True)):
        inspect(there, "test-1", look)
    assert sorted(look.seen) == ["a.bin", "b.bin", "c.bin"]
    # The manner ends with its block.
    look.seen.clear()
    inspect(there, "test-1", look)
    assert look.seen == ["b.bin"]


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"x": 3}', b"\xff"])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, damage: bytes) -> None:
    there, look = files(tmp_path, {"a": b"one"}), Look()
    first = inspect(there, "test-1", look)
    (memory,) = (tmp_path / "memory" / "vjepa-stress" / "inspected").iterdir()
    for data in (damage, memory.read_bytes().replace(b"sha256:", b"sha512:")):
        memory.write_bytes(data)
        look.seen.clear()
        assert inspect(there, "test-1", look) == first
        assert look.seen == ["a.bin"]


def test_a_memory_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in_the_way").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in_the_way"))
    found, failures = inspect(files(tmp_path, {"a": b"one"}), "test-1", Look())
    assert set(found) == {"a"}
    assert not failures


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for path in (tmp_path / "nothing", tmp_path / "link", tmp_path):
        with pytest.raises(BadVideo) as error:
            bytes_of(path)
        assert error.value.where == path
        assert inspect({"a": path}, "test-1", Look())[1][0].what == error.value.what


def test_failures_become_one_error() -> None:
    one = BadVideo("too short", where="a.mp4", expected="8 frames", found="3 frames")
    assert unusable([one], "1 of the 2 videos") is one
    joined = unusable([one, BadVideo("too short", where="b.mp4", expected="8 frames", found="4 frames")], "2 videos")
    assert joined.what == "2 videos cannot be used"
    assert joined.expected == "8 frames"
    assert "a.mp4: too short (3 frames)" in str(joined)
    assert "b.mp4: too short (4 frames)" in str(joined)
    mixed = unusable([one, CellsIncomplete("not there", where="c.mp4")], "2 videos")
    assert mixed.expected is None
    assert "c.mp4: not there" in str(mixed)


@pytest.mark.parametrize(("count", "named"), [(2, 2), (10, 10), (11, 10), (25, 10)])
def test_at_most_ten_failures_are_named(count: int, named: int) -> None:
    text = str(unusable([BadVideo("no", where=f"{number}.mp4") for number in range(count)], "videos"))
    assert text.count(".mp4") == named
    assert (f"and {count - named} more" in text) == (count > named)


def test_the_same_content_under_two_names_is_refused() -> None:
    digests = {"a.mp4": sha256(b"1"), "b.mp4": sha256(b"2")}
    different(digests, "folder")
    with pytest.raises(BadInput) as error:
        different({**digests, "c.mp4": sha256(b"1")}, "folder")
    assert error.value.where == "folder"
    assert error.value.found == "a.mp4 and c.mp4"
