"""A new study: from a blank draft to a verdict, and everything that `check` and `register` refuse on the way."""

import re
from pathlib import Path

import pytest

from tests.small import study

BLANK = re.compile(r"<[^>\n]+>")


def filled(path: Path) -> None:
    """Fill in every blank, as a person would."""
    path.write_text(BLANK.sub("something of my own", path.read_text().replace("<…>", "brackets")))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_draft_passes_after_its_blanks_are_filled(empty: Path) -> None:
    done = study.command("new", "mine", "--json")
    assert done.code == 0, done.err
    draft = empty / "prereg/mine/draft.yaml"
    assert Path(done.json["draft"]) == draft
    refused = study.command("check", draft)
    assert refused.code == 2
    assert "hypotheses[1].claim: <the claim" in refused.err
    filled(draft)
    before = sorted(empty.rglob("*"))
    checked = study.command("check", draft, "--json")
    assert checked.code == 0, checked.err
    assert sorted(empty.rglob("*")) == before  # it changes nothing
    chances = checked.json["chances"]
    assert chances["as_claimed"]["H1"]["confirmed"]["p"] > 0.9
    assert chances["nothing"]["H1"]["refuted"]["p"] > 0.5
    assert "confirmed 100.0% ± 0.0%" in checked.err


def test_a_started_study_is_not_written_over(empty: Path) -> None:
    assert study.command("new", "mine").code == 0
    again = study.command("new", "mine")
    assert again.code == 2
    assert "has been started" in again.err
    assert study.command("new", "../mine").code == 2


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 0.0, refute_at: 0.0", "vacuous"),
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 1.2, refute_at: -1.0", "out-of-range"),
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 1.0, refute_at: 1.2", "overlap"),
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 1.2", "refute_at"),
        ("perturbation: [gaussian_noise], strength: [0.6]", "perturbation: [fog]", "selects no cell"),
        ("id: H1", "id: C1", "stands twice"),
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 0.2, refute_at: 0.1", "constant"),
        ("sd: 0.1}", "sd: 5.0}", "sd"),
    ],
)
def test_what_check_and_register_refuse(empty: Path, old: str, new: str, text: str) -> None:
    study.command("new", "mine")
    draft = empty / "prereg/mine/draft.yaml"
    filled(draft)
    assert old in draft.read_text()
    draft.write_text(draft.read_text().replace(old, new))
    for command in ("check", "register"):
        done = study.command(command, draft)
        assert done.code == 2, done.err
        assert text in done.err
        assert "Traceback" not in done.err
    assert not (empty / "prereg/ledger.jsonl").exists()
