"""Finding the study root, and the paths below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vjepa_stress.digest import sha256
from vjepa_stress.errors import BadInput
from vjepa_stress.study_root import StudyRoot, check_study_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outer" / "inner" / "deep").mkdir(parents=True)
    (tmp_path / "outer" / "prereg").mkdir()
    return tmp_path / "outer"


def test_the_nearest_folder_upwards_that_holds_prereg(root: Path) -> None:
    for start in (root, root / "inner", root / "inner" / "deep", root / "prereg"):
        assert StudyRoot.find(start) == StudyRoot(root.resolve())
    (root / "inner" / "prereg").mkdir()
    assert StudyRoot.find(root / "inner" / "deep").path == (root / "inner").resolve()
    assert StudyRoot.find(root).path == root.resolve()


def test_the_current_folder_is_where_the_search_starts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "inner")
    assert StudyRoot.find().path == root.resolve()


def test_no_root_here_or_above(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        StudyRoot.find(tmp_path)
    assert error.value.where == tmp_path.resolve()
    assert error.value.fix


def test_a_root_that_is_given_must_be_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert StudyRoot.find(root / "inner", given=root).path == root.resolve()
    monkeypatch.chdir(root)
    assert StudyRoot.find(given=Path()).path == root.resolve()  # absolute, whatever was given
    with pytest.raises(BadInput) as error:
        StudyRoot.find(root, given=root / "inner")
    assert error.value.where == root / "inner"


def test_a_root_starts_in_an_empty_folder_or_where_there_is_none(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for here, expected in (
        (root / "inner" / "deep", root / "inner" / "deep"),  # empty, though a root lies above
        (root / "inner", root),  # not empty
        (tmp_path, tmp_path),  # not empty, and no root above
    ):
        monkeypatch.chdir(here)
        assert StudyRoot.find_or_start().path == expected.resolve()
    assert StudyRoot.find_or_start(tmp_path / "new").path == (tmp_path / "new").resolve()
    assert not (tmp_path / "new").exists()


def test_paths_of_a_study(tmp_path: Path) -> None:
    root, digest = StudyRoot(tmp_path), sha256(b"document")
    assert root.ledger == tmp_path / "prereg" / "ledger.jsonl"
    assert root.checkpoint == tmp_path / "prereg" / "checkpoint"
    assert root.document("mine", "v2") == tmp_path / "prereg" / "mine" / "v2.json"
    assert root.clips("mine", "footage", digest) == tmp_path / f"prereg/mine/clips/footage-{digest.short}.json"
    assert root.outputs("mine", digest) == tmp_path / "outputs" / "mine" / digest.short
    assert root.attempt("mine", digest, 3) == root.outputs("mine", digest) / "attempts" / "3"


@pytest.mark.parametrize("name", ["a", "mine", "vjepa21", "a_b_1", "a" * 64])
def test_names_of_studies(name: str) -> None:
    assert check_study_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A", "1a", "_a", "a" * 65, "a-b", "a.b", "a b", "mine\n", "\u00e4", "..", "../mine", "a/b", "a\\b", "a\0"],
)
def test_names_that_could_leave_the_folder_or_confuse(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        check_study_name(name)
    assert error.value.found == name
    with pytest.raises(BadInput):
        StudyRoot(tmp_path).document(name, "v1")
