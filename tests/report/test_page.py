"""The report: nobody's text becomes markup, nothing is fetched, the same evidence gives the same bytes."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.small import study
from vjepa_stress.prereg.root import StudyRoot
from vjepa_stress.report import numbers
from vjepa_stress.report.page import build
from vjepa_stress.verdict.evaluate import evaluate
from vjepa_stress.verdict.gate import gate

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)> | `x` [a](javascript:alert(3)) {{ 7 * 7 }}"


class Tags(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> StudyRoot:
    """A finished study whose every free text tries to become markup."""
    text = (study.HERE / "draft.yaml").read_text()
    for old in ("A study small enough to be run many times", "Somebody", "Identity\n", "prediction: confirmed"):
        new = json.dumps(NASTY)
        text = text.replace(
            old, {"Identity\n": f"{new}\n", "prediction: confirmed": f"prediction: {new}"}.get(old, new)
        )
    root = study.new_root(tmp_path_factory.mktemp("nasty") / "root", text)
    for done in (study.register(root), study.run(root), study.command("report", "--root", root.path, "small")):
        assert done.code == 0, done.err
    return root


def test_text_does_not_become_markup(nasty: StudyRoot) -> None:
    page = (study.outputs(nasty) / "report.html").read_text()
    tags = Tags(page).seen
    assert page.count("&lt;script&gt;") >= 5
    assert "49" not in re.findall(r"\{\{.*?\}\}", page)
    assert not [tag for tag, _ in tags if tag in {"script", "a", "iframe", "object", "form"}]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    markdown = (study.outputs(nasty) / "report.md").read_text()
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\]\(", markdown.replace("](report-M", ""))


def test_nothing_is_fetched(finished: StudyRoot) -> None:
    page = (study.outputs(finished) / "report.html").read_text()
    sources = [
        value for _, attributes in Tags(page).seen for name, value in attributes.items() if name in {"src", "href"}
    ]
    assert sources
    assert all(value is not None and value.startswith("data:image/svg+xml;base64,") for value in sources)
    assert "default-src 'none'" in page


def test_the_same_evidence_gives_the_same_bytes(finished: StudyRoot) -> None:
    evidence = gate(finished, "small")
    verdict = evaluate(evidence)
    first, second = (build(evidence, verdict, "chained").files() for _ in range(2))
    assert first == second
    assert evaluate(gate(finished, "small")).to_bytes() == verdict.to_bytes()


def test_both_pages_say_what_the_verdict_says(finished: StudyRoot) -> None:
    verdict = json.loads((study.outputs(finished) / "verdict.json").read_text())
    for name in ("report.html", "report.md"):
        page = (study.outputs(finished) / name).read_text()
        for one in verdict["hypotheses"]:
            assert re.search(rf"{one['id']}\b.*?{one['verdict']}", page, re.DOTALL)
            for record in one["estimates"].values():
                assert numbers.number(record["estimate"]["value"]) in page
        assert verdict["prereg_digest"] in page
        assert verdict["ledger_checkpoint"]["root"] in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "undefined"),
        (0.0, "0.000"),
        (0.12345, "0.123"),
        (-1.5, "-1.500"),
        (4.7e-17, "4.7e-17"),
        (9.8e-9, "9.8e-9"),
    ],
)
def test_rounding(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


def test_no_other_file_rounds() -> None:
    templates = Path(numbers.__file__).parent / "templates"
    assert not [path.name for path in templates.iterdir() if re.search(r"\|\s*round|format\(|%\.", path.read_text())]
