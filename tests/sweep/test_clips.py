"""Clips that a study cannot use: they overlap, or come from another number of sources than registered."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small import study
from vjepa_stress.blocks import ClipRef
from vjepa_stress.digest import digest_of, parse_json
from vjepa_stress.errors import BadInput
from vjepa_stress.records import ClipManifest
from vjepa_stress.sweep.bind import Blocks, ExecConfig
from vjepa_stress.sweep.clips import check_sources, clip_manifest

MODULE = """
from vjepa_stress.blocks import ClipRef
from vjepa_stress.digest import digest_of
from vjepa_stress.errors import NotHere
from vjepa_stress.interfaces import Dataset


class Cuts(Dataset):
    kind = "dataset/cuts"
    revision = 1

    n_clips: int
    stride: int

    def identify(self, home, frames):
        if home is None:
            raise NotHere("no folder", fix="give NAME")
        source = digest_of("a video")
        starts = range(0, self.n_clips * self.stride, self.stride)
        return tuple(ClipRef.of(f"clip {n}", source, range(n, n + frames)) for n in starts)

    def read(self, clip, home, resolution):
        raise NotImplementedError
"""


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A configuration folder with cuts of one video: `apart` and `overlapping`."""
    (tmp_path / "cuts_plugin.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    for name, stride in (("apart", 16), ("overlapping", 9)):
        (folder / f"{name}.yaml").write_text(f"_target_: cuts_plugin.Cuts\nn_clips: 20\nstride: {stride}\n")
    yield tmp_path / "conf"
    sys.modules.pop("cuts_plugin", None)


def manifest(conf: Path, name: str) -> bytes:
    here = ExecConfig(weights=Path("w"), data={name: Path()})
    return clip_manifest(name, Blocks(conf, ("cuts_plugin",)), here, 16)


def test_clips_that_share_frames_are_refused(conf: Path) -> None:
    assert len(parse_json(manifest(conf, "apart"))["clips"]) == 20
    with pytest.raises(BadInput, match="clips of one source overlap") as error:
        manifest(conf, "overlapping")
    assert error.value.where == "overlapping"
    assert str(error.value.found).startswith("clip 0 and clip 9 share 7 frames; clip 9 and clip 18 share 7 frames")
    assert error.value.expected
    assert error.value.fix


def test_a_manifest_has_the_registered_number_of_sources() -> None:
    clips = tuple(ClipRef.of(f"{n}", digest_of(n // 2), range(8 * n, 8 * n + 8)) for n in range(6))
    data = ClipManifest(schema="vjepa-stress/clips/v1", dataset="pairs", clips=clips).to_bytes()
    check_sources("pairs", data, 3)
    with pytest.raises(BadInput, match="another number of sources") as error:
        check_sources("pairs", data, 6)
    assert (error.value.expected, error.value.found) == ("6 sources", "3 sources")


def test_a_launch_refuses_clips_of_fewer_sources_than_registered(conf: Path, tmp_path: Path) -> None:
    """The class says that each clip is its own source, but the clips are of one video."""
    root = study.new_root(tmp_path / "root", (study.HERE / "draft.yaml").read_text().replace("[small]", "[apart]"))
    more: list[str | Path] = ["--root", root.path, "--config-dir", conf, "exec.plugins=[cuts_plugin]"]
    draft, here = root.prereg / "small" / "draft.yaml", f"exec.data={{apart: {tmp_path}}}"
    refused = study.command("register", draft, *more, here)
    assert refused.code == 2
    assert "30 sources" in refused.err
    assert not root.ledger.exists()
    registered = study.command("register", draft, *more)  # the first launch pins the clips
    assert registered.code == 0, registered.err
    before = root.ledger.read_bytes()
    refused = study.command("run", "small", *more, here)
    assert refused.code == 2
    assert "another number of sources than registered" in refused.err
    assert root.ledger.read_bytes() == before
