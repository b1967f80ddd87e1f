"""What a worker writes and records: rows of whole clips, failures of single cells, nothing twice."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.small import study
from tests.sweep.launched import EXEC, launched, varied
from vjepa_stress import ledger
from vjepa_stress.digest import Digest, sha256
from vjepa_stress.errors import CodeChanged, DocumentTampered, IdentityChanged
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.provenance import CodeState
from vjepa_stress.records import failures, read_cell
from vjepa_stress.records.journal import journal_files, read_header
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.commit import assemble
from vjepa_stress.sweep.launch import Launch
from vjepa_stress.sweep.worker import work


def journal(launch: Launch) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((launch.attempt_folder / "journal").glob("*/*.jsonl"))}


def test_a_file_for_each_clip_and_model(tmp_path: Path) -> None:
    launch = launched(study.registered(tmp_path / "root"))
    work(launch, launch.units()[:2], EXEC, "first")
    files = journal(launch)
    assert len(files) == 2
    for unit, path in zip(launch.units()[:2], sorted(files, key=lambda path: path.stat().st_mtime_ns), strict=True):
        header = read_header(path)
        assert header is not None
        assert header.unit == unit.clip.digest
        assert set(header.cells) == {launch.names[cell] for cell in unit.cells}
        assert header.facts == launch.group_of(unit).facts
        assert header.launch == launch.ledger_checkpoint
        assert (header.worker.device, header.worker.threads, header.worker.batch) == ("cpu", 1, 1)
    work(launch, launch.units(), EXEC, "second")
    assert len(journal(launch)) == 6
    assert files.items() <= journal(launch).items()  # untouched
    work(launch, launch.units(), EXEC, "third")
    assert len(journal(launch)) == 6  # nothing was left to compute
    assert not list((launch.folder / "jobs").glob("*"))
    assert failures(launch.attempt_folder) == []


def test_damaged_files_are_not_used_and_their_clips_are_computed_again(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    launch = launched(root)
    work(launch, launch.units(), EXEC)
    whole = journal(launch)
    files = list(whole)
    (first, second, third), others = (files[0], files[1], files[3]), (files[2], *files[4:])
    first.write_bytes(whole[first][:-20])  # cut off
    second.write_bytes(whole[second].replace(b'"M2":0.', b'"M2":1.', 1))  # another number
    third.write_bytes(b"x" + whole[third])  # no header
    again = launched(root)
    assert len(again.cells) == study.CELLS  # no cell was assembled from them
    work(again, again.units(), EXEC)
    new = {(path.parent, path.name.split("-")[0]) for path in journal(again) if path not in whole}
    assert new == {(path.parent, path.name.split("-")[0]) for path in (first, second, third)}
    assert {path: path.read_bytes() for path in others} == {path: whole[path] for path in others}
    assert assemble(again) == study.CELLS
    assert study.contents(root) == study.contents(lean)


def test_cells_that_the_journal_lacks_are_added_in_another_file(lean: StudyRoot, tmp_path: Path) -> None:
    root = study.registered(tmp_path / "root")
    some = launched(root, "model=tiny", "perturbation=reverse,gaussian_noise")
    work(some, some.units()[:2], EXEC, "some")
    rest = launched(root)
    work(rest, rest.units(), EXEC, "rest")
    rows = [
        (cell, file.header.unit)
        for group in rest.groups
        for file in journal_files(group.journal)
        for cell in file.header.cells
    ]
    assert len(rows) == len(set(rows)) == study.CELLS * 3
    assemble(rest)
    assert study.contents(root) == study.contents(lean)


def test_other_code_is_refused(tmp_path: Path) -> None:
    launch = launched(study.registered(tmp_path / "root"))
    other = varied(launch, code=CodeState(digest=sha256(b"other"), dirty=False, commit=None))
    with pytest.raises(CodeChanged):
        work(other, other.units(), EXEC)
    assert journal(launch) == {}


def test_other_weights_are_refused_and_are_no_failure_of_cells(tmp_path: Path) -> None:
    launch = launched(study.registered(tmp_path / "root"))
    other = varied(launch, weights={name: sha256(b"other") for name in launch.weights})
    with pytest.raises(IdentityChanged):
        work(other, other.units(), EXEC)
    assert failures(launch.attempt_folder) == []
    assert journal(launch) == {}


def test_a_document_that_changes_meanwhile_stops_the_worker(tmp_path: Path) -> None:
    launch = launched(study.registered(tmp_path / "root"))
    units = launch.units()
    _ = launch.design
    launch.document.write_bytes(launch.document.read_bytes() + b" ")
    with pytest.raises(DocumentTampered):
        work(launch, units, EXEC)
    assert journal(launch) == {}


FAULTY = '''
from pathlib import Path

from vjepa_stress.perturb.gaussian_noise import GaussianNoise


class Faulty(GaussianNoise):
    """Noise that fails at 0.6 for the seeds that a file lists: a broken machine, not other code."""

    kind = "perturbation/faulty"
    revision = 1

    def apply(self, video, strength, drawn):
        broken = Path(__file__).with_name("broken")
        if strength == 0.6 and broken.exists() and broken.read_text() == str(hash(drawn.numpy().tobytes())):
            raise RuntimeError("the noise is broken\\x1b[31m")
        return super().apply(video, strength, drawn)

    def draw(self, video, seeds):
        with Path(__file__).with_name("drawn").open("a") as stream:
            drawn = super().draw(video, seeds)
            stream.write(f"{seeds[0]} {hash(drawn.numpy().tobytes())}\\n")
        return drawn
'''


@pytest.mark.parametrize("batch", ["1", "4"])
def test_a_failure_costs_one_cell_at_one_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str) -> None:
    conf, plugins = tmp_path / "conf", tmp_path / "plugins"
    shutil.copytree(study.CONF, conf)
    plugins.mkdir()
    (plugins / "faulty_noise.py").write_text(FAULTY)
    (conf / "perturbation").mkdir()
    (conf / "perturbation" / "faulty.yaml").write_text("_target_: faulty_noise.Faulty\nsigma_at_full: 0.4\n")
    monkeypatch.syspath_prepend(str(plugins))
    monkeypatch.delitem(sys.modules, "faulty_noise", raising=False)
    root = study.new_root(tmp_path / "root", study.calibration("few").replace("gaussian_noise", "faulty"))
    words = ("--root", root.path, "--config-dir", conf, "--json", "exec.plugins=[faulty_noise]")
    draft = root.prereg / "small" / "draft.yaml"
    assert study.command("register", draft, *words).code == 0
    run = ("run", "small", *words, "exec.threads=1", "exec.workers=1", f"exec.batch={batch}")

    # An undisturbed run of a copy: the reference, and the noise of each clip.
    copy = study.copied(root, tmp_path / "copy")
    plain = study.command(*(copy.path if word == root.path else word for word in run))
    assert plain.code == 0, plain.err
    noise = dict(line.split() for line in (plugins / "drawn").read_text().splitlines())
    digest = read_cell(next(study.cells(copy).iterdir())).manifest.units[1]
    seed = clip_seed(3, Digest(digest), "faulty")
    (plugins / "broken").write_text(noise[str(seed)])

    done = study.command(*run)
    assert done.code == 4, done.err
    assert "2 of 16 cells were not computed; the others are kept" in done.err
    assert "the noise is broken" in done.err
    assert "\x1b" not in done.err
    attempt = study.cells(root).parent
    found = failures(attempt)
    assert [(failure.unit, failure.error, len(failure.cells)) for failure in found] == [
        (digest, "RuntimeError", 1)
    ] * 2
    assert sorted(str(failure.cells[0]["model"]) for failure in found) == ["tiny", "tiny_wide"]
    assert {(failure.cells[0]["perturbation"], failure.cells[0]["strength"]) for failure in found} == {
        ("faulty", 0.6)
    }
    rows = {path: read_header(path) for path in attempt.glob("journal/*/*.jsonl")}
    assert sorted(len(header.cells) for header in rows.values() if header) == [7, 7, 8, 8, 8, 8]
    reference = study.contents(copy)
    assert len(study.contents(root)) == 14
    assert study.contents(root).items() <= reference.items()
    leaf = ledger.read(root).leaves[-1]
    assert isinstance(leaf, ledger.Failed)
    assert sorted(leaf.cells) == sorted(reference.keys() - study.contents(root).keys())
    status = study.command("status", "small", "--root", root.path, "--json").json
    assert (status["done"], status["missing"], status["failed"]) == (14, 2, 2)

    still = study.command(*run)  # not mended
    assert still.code == 4, still.err
    assert {path: read_header(path) for path in attempt.glob("journal/*/*.jsonl")} == rows
    (plugins / "broken").unlink()
    (plugins / "drawn").unlink()
    mended = study.command(*run)
    assert mended.code == 0, mended.err
    assert (mended.json["computed"], mended.json["computed_before"], mended.json["complete"]) == (2, 14, True)
    assert [line.split()[0] for line in (plugins / "drawn").read_text().splitlines()] == [str(seed)] * 2
    assert study.contents(root) == reference
    assert study.command("verdict", "small", "--root", root.path).code == 0
    verdict = json.loads((study.outputs(root) / "verdict.json").read_text())
    codes = [deviation["code"] for deviation in verdict["deviations"]]
    assert codes.count("failed-cell") == 4  # two cells in two runs
