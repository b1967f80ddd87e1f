"""What a job keeps on disk: scratch folders, arrays made once, clips compared with their manifest."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vjepa_stress.blocks import ClipRef
from vjepa_stress.data.procedural import Procedural
from vjepa_stress.digest import sha256
from vjepa_stress.errors import CannotWrite, IdentityChanged
from vjepa_stress.records import ClipManifest
from vjepa_stress.sweep.features import ArrayCache, Clips, scratch_folder

CPU = torch.device("cpu")


def series(seed: int) -> Procedural:
    return Procedural(n_clips=2, first_index=0, render_seed=seed, size=32, max_objects=2, travel=0.3, camera=0.2)


def test_a_scratch_folder_is_private_and_goes_away(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "new") as one, scratch_folder(tmp_path / "new") as other:
        assert one != other
        assert one.parent == other.parent == tmp_path / "new"
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "file").write_text("kept until the end")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ValueError, match="a defect"), scratch_folder(tmp_path) as folder:
        raise ValueError("a defect")
    assert not folder.exists()


def test_folders_of_processes_that_ended_are_removed_and_no_others(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = f"vjepa-stress-{platform.node()}"
    left = tmp_path / f"{mine}-{ended.pid}-abc"
    others = [
        tmp_path / f"{mine}-{os.getpid()}-abc",  # of a process that runs
        tmp_path / f"vjepa-stress-elsewhere.example-{ended.pid}-abc",  # of another machine
        tmp_path / f"{mine}-notes",  # of nobody
    ]
    for folder in (left, *others):
        folder.mkdir()
        (folder / "file").write_text("")
    with scratch_folder(tmp_path):
        assert not left.exists()
        assert all((folder / "file").exists() for folder in others)


def test_a_scratch_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite), scratch_folder(tmp_path / "file"):
        pytest.fail("it was made")


def test_an_array_is_made_when_it_is_first_asked_for(tmp_path: Path) -> None:
    made: list[str] = []

    def make(name: str) -> torch.Tensor:
        made.append(name)
        return torch.arange(6).view(2, 3) + len(name)

    kept = ArrayCache(tmp_path / "arrays")
    assert kept.cached("a") is None
    first = kept.get("a", lambda: make("a"))
    assert torch.equal(kept.get("a", lambda: make("a")), first)
    # Another process with the same folder finds it too.
    there = ArrayCache(tmp_path / "arrays").cached("a")
    assert there is not None
    assert torch.equal(there, first)
    assert there.dtype == first.dtype
    kept.get("bb", lambda: make("bb"))
    assert made == ["a", "bb"]


def clips(folder: Path, seen: int, listed: int) -> tuple[Clips, tuple[ClipRef, ...]]:
    """Clips of one series, under the manifest of another one."""
    refs = series(listed).identify(None, 4)
    data = ClipManifest(schema="vjepa-stress/clips/v1", dataset="a", clips=refs).to_bytes()
    (folder / "clips.json").write_bytes(data)
    data_set = series(seen)
    return Clips(data_set, folder / "clips.json", sha256(data), None, 32, folder / "kept"), refs


def test_clips_are_those_of_the_manifest(tmp_path: Path) -> None:
    found, refs = clips(tmp_path, 1, 1)
    assert found.refs == refs
    sample = series(1).read(refs[1], None, 32)
    assert sample.masks is not None
    for _ in range(2):  # decoded, then read back
        assert torch.equal(found.video(refs[1], CPU)[0], sample.pixels.float() / 255)
        masks = found.masks(refs[1], CPU)
        assert masks is not None
        assert torch.equal(masks[0], sample.masks)


def test_other_bytes_than_listed_are_refused_and_not_kept(tmp_path: Path) -> None:
    found, refs = clips(tmp_path, 1, 2)
    for _ in range(2):
        with pytest.raises(IdentityChanged) as error:
            found.video(refs[0], CPU)
        assert error.value.where == refs[0].name
        assert error.value.expected == refs[0].digest
    assert not list((tmp_path / "kept").iterdir())


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    clips(tmp_path, 1, 1)
    path = tmp_path / "clips.json"
    digest = sha256(path.read_bytes())
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IdentityChanged):
        Clips(series(1), path, digest, None, 32, tmp_path / "kept")
