"""`vjepa-stress data`: prepare, verify and describe, on trees in the real formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.data import trees
from tests.small import study
from vjepa_stress.digest import sha256


@pytest.fixture(autouse=True)
def _own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "memory"))


def data(action: str, name: str, home: Path, *more: str | Path) -> study.Done:
    words = ("data", action, name, f"exec.data={{{name}: '{home}'}}", "--resolution", "64")
    return study.command(*words, "--config-dir", study.CONF, "--json", *more)


@pytest.mark.parametrize(("name", "annotated"), [("small_davis", True), ("small_ssv2", False)])
def test_prepare_then_verify(tmp_path: Path, name: str, annotated: bool) -> None:
    if annotated:
        home = trees.davis(tmp_path / "davis", {"bear": 16, "camel-run": 17, "dog": 16})
        victim = home / "Annotations" / "480p" / "bear" / "00007.png"
    else:
        home = trees.small_ssv2(tmp_path / "ssv2", 3)
        victim = home / "20bn-something-something-v2" / "102.webm"
    out = tmp_path / "out"
    done = data("prepare", name, home, "--out", out)
    assert done.code == 0, done.err
    found = done.json
    assert found["annotated"] == annotated
    assert found["clips"] == found["sources"] == (2 if annotated else 3)
    assert found["mebibytes_decoded"] > 0
    # 8 × 4 × 4 tokens of 768 channels, 4 bytes each: 0.375 MiB a clip, printed to one decimal.
    assert found["mebibytes_of_features_base"] == round(found["clips"] * 0.375, 1)
    assert found["seconds_to_decode"] >= 0
    assert f"reading {name}" in done.err
    manifest = Path(found["clip_manifest"])
    assert sha256(manifest.read_bytes()) == found["clip_manifest_digest"]
    with Image.open(found["contact_sheet"]) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 4 * 112
    checked = data("verify", name, home, "--against", manifest)
    assert checked.code == 0, checked.err
    assert checked.json["clip_manifest_digest"] == found["clip_manifest_digest"]

    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    cut = data("verify", name, home)
    assert cut.code == 2
    assert victim.name in cut.err
    other = trees.palette_png(trees.objects(9, *trees.real_frames()[0].shape[:2])) if annotated else trees.webm(3, 30)
    victim.write_bytes(other)
    assert data("verify", name, home).code == 0
    changed = data("verify", name, home, "--against", manifest)
    assert changed.code == 3
    assert "the clips differ from those of" in changed.err


def test_describe_writes_nothing_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = trees.small_ssv2(tmp_path / "ssv2", 3)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    done = data("describe", "small_ssv2", home)
    assert done.code == 0, done.err
    assert not list(work.iterdir())
    assert data("describe", "small_ssv2", home, "--sheet").code == 0
    assert [path.name for path in work.iterdir()] == ["small_ssv2.png"]


def test_a_data_set_that_needs_no_files(tmp_path: Path) -> None:
    done = study.command("data", "describe", "small", "--config-dir", study.CONF, "--json", "--resolution", "32")
    assert done.code == 0, done.err
    assert done.json["annotated"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    done = study.command("data", "prepare", "davis", "--out", tmp_path)
    assert done.code == 2
    assert "exec.data=" in done.err
    done = data("prepare", "small_ssv2", tmp_path)
    assert done.code == 2
    assert "not the folder of Something-Something" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "--against", "/nope"),
        ("verify", "--against", "/"),
        ("prepare", "--resolution", "-5"),
        ("prepare", "--frames", "0"),
        ("prepare", "--frames", "x"),
        ("prepare", "--out", "/proc/x"),
    ],
    ids=" ".join,
)
def test_bad_arguments_are_bad_input(words: tuple[str, ...]) -> None:
    done = study.command("data", words[0], "small", "--config-dir", study.CONF, "--resolution", "32", *words[1:])
    assert done.code == 2, done.err
    assert words[1] in done.err or words[2] in done.err
    assert "Traceback" not in done.err


def test_help_has_an_example() -> None:
    done = study.command("data", "--help")
    assert done.code == 0
    assert "example: vjepa-stress data prepare davis" in done.out
    assert json.dumps("prepare")[1:-1] in done.out
