"""What the command line prints: escaped, aligned, without raw Python values, drawn only on a terminal."""

import io
import json
from pathlib import Path

import pytest

from tests.small import study
from vjepa_stress.cli import output
from vjepa_stress.cli.output import Result, Table
from vjepa_stress.errors import BadInput
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.progress import progress
from vjepa_stress.terminal import printable

NASTY = "\x1b[2K\rconfirmed\u202e\u200b\x9b1m"
SHOWN = "\\u{1b}[2K\\u{d}confirmed\\u{202e}\\u{200b}\\u{9b}1m"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_values_are_words_and_not_python() -> None:
    assert output.plain(True) == "yes"
    assert output.plain(False) == "no"
    assert output.plain(0) == "0"
    assert output.plain(["a", 2]) == "a, 2"
    assert output.plain(Path("a/b")) == "a/b"
    for nothing in (None, (), [], {}, {"a": 1}, [{"a": 1}]):
        assert output.plain(nothing) is None


def test_every_writer_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(NASTY)
    output.notices([NASTY])
    output.report_error(BadInput(NASTY, where=NASTY, found=NASTY, fix=NASTY))
    output.show(Result({"title": NASTY}, next=f"vjepa-stress run {NASTY}"))
    output.show(Result({}, parts=(NASTY, Table(("name",), ((NASTY,),)))))
    output.show(Result({"title": NASTY + "\x7f"}, as_json=True))
    with progress(NASTY, 1) as advance:
        advance(NASTY)
    out, err = capsys.readouterr()
    assert printable(out + err) == out + err
    assert err.count(SHOWN) == 9
    assert out.count(SHOWN) == 3
    assert json.loads(out[out.index("{\n") :]) == {"title": NASTY + "\x7f"}


def test_a_table_is_drawn_on_a_terminal_and_aligned_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    table = Table(
        ("name", "verdict", "about"), (("H1", "refuted", f"first\nsecond {NASTY}"), ("H10", "confirmed", ""))
    )
    plain = io.StringIO()
    output.print_table(table, plain)
    assert plain.getvalue().splitlines() == [
        "name  verdict    about",
        "H1    refuted    first",
        f"                 second {SHOWN}",
        "H10   confirmed",
    ]
    monkeypatch.delenv("NO_COLOR", raising=False)
    drawn = Terminal()
    output.print_table(table, drawn)
    assert "\x1b[31mrefuted" in drawn.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    colourless = Terminal()
    output.print_table(table, colourless)
    assert "\x1b[3" not in colourless.getvalue()
    for text in (drawn.getvalue(), colourless.getvalue()):
        assert "\x9b" not in text
        assert "\u202e" not in text
        assert "\r" not in text


def test_a_name_of_a_file_or_a_study_cannot_recolour_a_message(finished: StudyRoot, tmp_path: Path) -> None:
    draft = tmp_path / f"a{NASTY}.yaml"
    draft.write_text("study: [")
    for words in (
        ("verdict", NASTY),
        ("check", draft),
        ("run", "small", NASTY),
        (NASTY,),
        ("list", "models", "--root", NASTY),
    ):
        done = study.command(*words, *(("--root", finished.path) if words[0] in ("verdict", "run") else ()))
        assert done.code == 2, done.err
        assert "\\u{1b}" in done.err or "\\x1b" in done.err
        assert printable(done.err) == done.err


def test_a_title_with_an_escape_sequence_is_refused(tmp_path: Path) -> None:
    text = (study.HERE / "draft.yaml").read_text()
    hidden = 'title: "Noise \\e[1A\\e[2KH1 confirmed"'
    root = study.new_root(tmp_path / "root", text.replace("title: Noise", hidden))
    for done in (
        study.register(root),
        study.command("check", root.prereg / "small/draft.yaml", "--config-dir", study.CONF),
    ):
        assert done.code == 2
        assert "a control character or an invisible formatting character" in done.err
        assert printable(done.err) == done.err
    assert not root.ledger.exists()


def test_words_for_the_ledger_are_refused_before_anything_is_written(attacked: StudyRoot) -> None:
    before = attacked.ledger.read_bytes()
    done = study.command("withdraw", "small", "H2", "--why", NASTY, "--root", attacked.path)
    assert done.code == 2, done.err
    assert "a control character or an invisible formatting character" in done.err
    assert attacked.ledger.read_bytes() == before
    assert not attacked.document("small", "v2").exists()


def test_results_go_to_standard_output_and_the_next_command_to_standard_error(finished: StudyRoot) -> None:
    done = study.command("status", "small", "--root", finished.path)
    assert done.out == "small v1, attempt 1: 16 of 16 cells done, 0 missing, 0 failed\n"
    assert done.err == f"next: vjepa-stress verdict small --root {finished.path}\n"
    for raw in ("None", "True", "False", "()", "{}", "[]"):
        assert raw not in done.out
