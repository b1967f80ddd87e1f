"""A launch as a file, and how its units are shared."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.small import study
from tests.sweep.launched import varied
from vjepa_stress.errors import BadInput, DocumentTampered
from vjepa_stress.records.progress import Outline
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.launch import Launch, parse_share


@pytest.fixture
def launch(lean: StudyRoot, tmp_path: Path) -> Launch:
    """The launch of a finished study, as its file has it."""
    root = study.copied(lean, tmp_path / "root")
    read = Launch.read(study.outputs(root) / "attempts" / "1" / "launches" / "1" / "launch.json")
    folder = root.path / read.attempt_folder.relative_to(read.root)
    return varied(
        read, root=root.path, attempt_folder=folder, document=root.path / read.document.relative_to(read.root)
    )


def test_a_launch_is_read_as_it_was_written(launch: Launch) -> None:
    path = launch.write()
    assert Launch.read(path) == launch
    assert path == launch.folder / "launch.json"
    assert launch.sign.parent == launch.folder
    outline = Outline.model_validate_json((launch.folder / "outline.json").read_bytes())
    assert {cell for group in outline.groups for cell in group.cells} == set(launch.cells)
    assert [len(group.units) for group in outline.groups] == [3, 3]


def test_units_are_all_clips_of_all_models(launch: Launch) -> None:
    units = launch.units()
    assert [unit.model for unit in units] == ["tiny"] * 3 + ["tiny_wide"] * 3
    assert len({(unit.model, unit.clip.digest) for unit in units}) == 6
    for unit in units:
        assert len(unit.cells) == 8
        assert {cell.model for cell in unit.cells} == {unit.model}
        assert unit.clip in launch.group_of(unit).clips
    assert launch.units(["tiny"]) == units[:3]
    assert launch.units([]) == []


@pytest.mark.parametrize(("jobs", "workers"), list(itertools.product((1, 2, 3, 7), (1, 2, 5))))
def test_shares_are_a_partition(launch: Launch, jobs: int, workers: int) -> None:
    shares = [
        launch.units(None, [(job, jobs), (worker, workers)])
        for job in range(1, jobs + 1)
        for worker in range(1, workers + 1)
    ]
    found = [(unit.model, unit.clip.digest) for share in shares for unit in share]
    assert sorted(found) == sorted((unit.model, unit.clip.digest) for unit in launch.units())
    for job in range(1, jobs + 1):
        sizes = [len(launch.units(None, [(job, jobs), (worker, workers)])) for worker in range(1, workers + 1)]
        assert max(sizes) - min(sizes) <= 1


def test_a_changed_document_is_refused(launch: Launch) -> None:
    launch.verify_document()
    data = launch.document.read_bytes()
    launch.document.write_bytes(data.replace(b'"seed":3', b'"seed":4', 1))
    with pytest.raises(DocumentTampered):
        launch.verify_document()
    with pytest.raises(DocumentTampered):
        _ = launch.design
    launch.document.unlink()
    with pytest.raises(DocumentTampered, match="no such file"):
        launch.verify_document()


def test_what_rows_must_have_in_common(launch: Launch) -> None:
    facts = launch.facts("tiny", "few")
    assert set(facts) == {"document", "code", "weights", "clips"}
    assert facts != launch.facts("tiny_wide", "few")
    assert len({group.facts for group in launch.groups}) == 2
    assert len({group.journal for group in launch.groups}) == 2


@pytest.mark.parametrize(("text", "share"), [("1/1", (1, 1)), ("2/4", (2, 4)), ("12/12", (12, 12))])
def test_a_share(text: str, share: tuple[int, int]) -> None:
    assert parse_share(text) == [share]


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1.0/2"])
def test_no_share(text: str) -> None:
    with pytest.raises(BadInput, match="chunk=K/N"):
        parse_share(text)


def test_everything() -> None:
    assert parse_share(None) == []
