"""Bad videos, checkpoints, disks and folders, through the real commands: a clear message and the right exit code."""

import io
import os
import pickle
import subprocess
from pathlib import Path

import pytest
import torch

from tests.data.films import film
from tests.small import study
from tests.small.study import Done
from vjepa_stress import ledger
from vjepa_stress.encoders.released import SIZES
from vjepa_stress.encoders.vjepa21 import VJEPA21
from vjepa_stress.study_root import StudyRoot

VIDEOS = study.calibration("videos")
"""Only the calibration: no rule reads an interval of two videos."""


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.mp4").write_bytes(film(frames=20 + number))
    return folder


def clear(done: Done, code: int, *texts: str) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    for text in texts:
        assert text in done.err


def truncated(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda folder: (folder / "1.mp4").write_bytes(truncated((folder / "1.mp4").read_bytes())), "1.mp4"),
        (lambda folder: (folder / "1.mp4").write_text("this is a shopping list\n"), "1.mp4"),
        (lambda folder: (folder / "1.mp4").write_bytes(b""), "1.mp4"),
        (lambda folder: (folder / "1.mp4").write_bytes(film(frames=9)), "too short"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no videos in this folder"),
        (lambda folder: (folder / "1.mp4").unlink(), "not enough videos"),
    ],
    ids=["truncated", "text", "empty file", "short", "empty folder", "one missing"],
)
def test_bad_videos_at_registration(tmp_path: Path, videos: Path, spoil: object, text: str) -> None:
    assert callable(spoil)
    spoil(videos)
    root = study.new_root(tmp_path / "root", VIDEOS)
    clear(study.register(root, f"exec.data={{videos: {videos}}}"), 2, text, "found:")
    assert not root.ledger.exists()


def test_a_video_that_changes_after_the_registration(tmp_path: Path, videos: Path) -> None:
    root, where = study.new_root(tmp_path / "root", VIDEOS), f"exec.data={{videos: {videos}}}"
    assert study.register(root, where).code == 0
    good = (videos / "1.mp4").read_bytes()
    (videos / "1.mp4").write_bytes(film(frames=25))
    clear(study.run(root, where), 3, "the clips of videos differ from the registered ones")
    (videos / "1.mp4").write_bytes(truncated(good))
    clear(study.run(root, where), 2, "1.mp4")
    (videos / "1.mp4").write_bytes(good)
    assert study.run(root, where).code == 0


def test_without_its_data_a_study_is_pinned_by_the_first_launch(tmp_path: Path, videos: Path) -> None:
    root, where = study.new_root(tmp_path / "root", VIDEOS), f"exec.data={{videos: {videos}}}"
    registered = study.register(root)
    clear(registered, 0, "the clips of videos are not pinned; the first launch pins them")
    clear(study.run(root), 2, "needs a folder of videos")
    assert study.run(root, where, "model=tiny", "perturbation=reverse").code == 0
    pinned = (videos / "1.mp4").read_bytes()
    (videos / "1.mp4").write_bytes(film(frames=25))
    clear(study.run(root, where), 3, "differ from the registered ones")
    (videos / "1.mp4").write_bytes(pinned)
    assert study.run(root, where).code == 0
    report = study.command("report", "--root", root.path, "small")
    assert report.code == 0
    page = next((root.path / "outputs" / "small").glob("*/report.md")).read_text()
    assert "clips of videos: pinned by the first launch" in page


class Evil:
    """A pickle that would run a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.proof}",)


def missing_key(proof: Path) -> bytes:
    """Meta's layout with one tensor left out; every tensor is one number, stretched, so that the file is small."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in VJEPA21(SIZES["base"]).state_dict().items()}
    shapes.pop("blocks.3.attn.qkv.weight")
    weights = {f"module.backbone.{name}": torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    buffer = io.BytesIO()
    torch.save({"ema_encoder": weights}, buffer)
    return buffer.getvalue()


def evil(proof: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"ema_encoder": Evil(proof)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (missing_key, "blocks.3.attn.qkv.weight"),
        (evil, "vjepa2_1_vitb_dist_vitG_384.pt"),
        (lambda proof: pickle.dumps({"ema_encoder": Evil(proof)}), "vjepa2_1_vitb_dist_vitG_384.pt"),
        (lambda proof: b"<html>not found</html>", "vjepa2_1_vitb_dist_vitG_384.pt"),
    ],
    ids=["a missing key", "a pickle that would run", "an old pickle that would run", "a web page"],
)
def test_bad_checkpoints(tmp_path: Path, make: object, text: str) -> None:
    assert callable(make)
    proof, weights = tmp_path / "proof", tmp_path / "weights"
    weights.mkdir()
    (weights / "vjepa2_1_vitb_dist_vitG_384.pt").write_bytes(make(proof))
    draft = (study.HERE / "draft.yaml").read_text().replace("tiny_wide", "base")
    root, where = study.new_root(tmp_path / "root", draft), f"exec.weights={weights}"
    assert study.register(root, where).code == 0
    for workers in ((), ("exec.workers=1",)):  # the model is measured first, or not
        clear(study.run(root, where, "model=base", "perturbation=reverse", *workers), 2, text, "found:")
        assert not proof.exists()


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    draft = (study.HERE / "draft.yaml").read_text().replace("tiny_wide", "base")
    root, where = study.new_root(tmp_path / "root", draft), f"exec.weights={tmp_path / 'nothing'}"
    clear(study.register(root, where), 0, "the weights of base are not pinned; the first launch pins them")
    clear(study.run(root, where), 2, "vjepa-stress fetch base")
    assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered"]


class Mount:
    """A separate small file system."""

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir()
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.folder)], check=True)

    def end(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system to fill")


@needs_root
def test_a_full_disk(tmp_path: Path, lean: StudyRoot) -> None:
    try:
        mount = Mount(tmp_path / "disk", "160k")
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not let even root mount a tmpfs")
    try:
        root = study.new_root(mount.folder / "root", study.calibration("few"))
        assert study.register(root).code == 0
        clear(study.run(root), 4, "the disk is full or failed", "free disk space")
        ledger.read(root)
        left = list(study.cells(root).iterdir())
        assert len(left) < study.CELLS
        assert not [path for path in left if path.name.startswith(".")]
        mount.remount("size=10m")
        done = study.run(root)
        assert done.code == 0, done.err
        # Cells whose clips were all in the journal are assembled, not computed again.
        assert done.json["computed_before"] >= len(left)
        assert done.json["complete"]
        assert study.contents(root) == study.contents(lean)
    finally:
        mount.end()


@needs_root
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    try:
        mount = Mount(tmp_path / "disk", "10m")
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not let even root mount a tmpfs")
    try:
        root = study.new_root(mount.folder / "root")
        assert study.register(root).code == 0
        mount.remount("ro")
        for done in (study.run(root), study.command("demo", "--out", mount.folder / "demo")):
            clear(done, 2, "cannot be written", "choose another folder")
        assert [leaf.event for leaf in ledger.read(root).leaves] == ["registered"]
        assert study.command("status", "--root", root.path, "small").code == 0
    finally:
        mount.end()


def test_an_output_folder_that_is_a_file(tmp_path: Path) -> None:
    root = study.new_root(tmp_path / "root")
    assert study.register(root).code == 0
    (root.path / "outputs").write_text("in the way")
    clear(study.run(root), 2, "cannot be written")


@pytest.mark.parametrize(
    "words",
    [
        ("verdict", "nothing"),
        ("status", "small", "--root", "/nonexistent"),
        ("run", "--cheese"),
        ("fetch", "tiny"),
        ("fetch", "enormous"),
        (),
        ("register", "/nonexistent/draft.yaml"),
    ],
)
def test_bad_usage(finished: StudyRoot, words: tuple[str, ...]) -> None:
    where = () if "--root" in words or not words else ("--root", str(finished.path))
    done = study.command(*words, *where)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert done.err.strip()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("rerun", "small", "model=tiny"), "model"),
        (("register", str(study.HERE / "draft.yaml"), "strength=0.5"), "strength"),
        (("data", "describe", "demo_procedural", "data=footage"), "data"),
    ],
)
def test_a_choice_of_cells_is_not_ignored_where_there_is_none(
    finished: StudyRoot, words: tuple[str, ...], found: str
) -> None:
    done = study.command(*words, *(() if words[0] == "data" else ("--root", str(finished.path))))
    clear(done, 2, "does not select cells", f"found: overrides of {found}\n")
