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
    assert re.search("as_claimed +C1 +confirmed +100.0%", checked.err)
    assert checked.json["severity"]["H1"]["at_refuting"]["confirmed"]["p"] < 0.06
    assert "confirmed at the refuting border" in checked.err


def test_a_started_study_is_not_written_over(empty: Path) -> None:
    assert study.command("new", "mine").code == 0
    again = study.command("new", "mine")
    assert again.code == 2
    assert "already exists" in again.err
    assert study.command("new", "../mine").code == 2


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 0.0, refute_at: 0.0", "vacuous"),
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 1.2, refute_at: -1.0", "out-of-range"),
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 1.0, refute_at: 1.2", "overlap"),
        ("confirm_at: 1.2, refute_at: 1.0", "confirm_at: 1.2", "refute_at"),
        ("use: interval,\n           rationale: something of my own}", "use: interval}", "no `rationale`"),
        ("perturbation: [gaussian_noise], strength: [0.6]", "perturbation: [fog]", "selects no cell"),
        ("id: H1", "id: C1", "duplicate hypothesis id"),
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


BOMB = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))
BAND = "{kind: band, estimand: reversal, low: 0.5, high: 1.5, rationale: Unrelated gradients give 1.}"
DEEP = "{kind: any_of, of: [" * 20 + BAND + "]}" * 20


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("frames: 16", "frames: 0", "frames"),
        ("frames: 16", "frames: 1000000000", "frames"),
        ("frames: 16", "frames: 17", "cannot encode the clips of this design"),
        ("resolution: 32", "resolution: 1000000000", "resolution"),
        ("resolution: 32", "resolution: 50", "tiny cannot encode the clips of this design"),
        ("seed: 3", f"seed: {'[' * 5000}{']' * 5000}", "61 levels"),
        ("study: small\n", f"a0: &a0 [x]\n{BOMB}study: small\n", "an anchor or alias"),
        (BAND, DEEP, "levels"),
        ("rationale: A dose and its response.", 'rationale: ""', "rationale: empty"),
        ("rationale: A dose and its response.", 'rationale: "  "', "rationale: empty"),
        ("rationale: A dose and its response.", 'rationale: "A do\\u0301se."', "normal form"),
    ],
    ids=["0", "many", "odd", "large", "uneven", "brackets", "bomb", "deep", "empty", "blank", "NFC"],
)
def test_what_no_machine_should_be_given(tmp_path: Path, old: str, new: str, text: str) -> None:
    draft = (study.HERE / "draft.yaml").read_text()
    assert old in draft
    root = study.new_root(tmp_path / "root", draft.replace(old, new))
    path = root.prereg / "small" / "draft.yaml"
    for done in (study.command("check", path, "--config-dir", study.CONF), study.register(root)):
        assert done.code == 2, done.err
        assert text in done.err
        assert "Traceback" not in done.err
    assert not root.ledger.exists()
