"""The report: nobody's text becomes markup, nothing is fetched, the same evidence gives the same bytes."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.small import study
from vjepa_stress.design.video import as_video
from vjepa_stress.digest import Digest
from vjepa_stress.ledger import Checkpoint
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.report import numbers, words
from vjepa_stress.report.page import build
from vjepa_stress.statistics import STATISTICS
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, undefined
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.terminal import printable
from vjepa_stress.verdict.evaluate import Companion, evaluate
from vjepa_stress.verdict.gate import gate
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.multiverse import AlternativeRecord
from vjepa_stress.verdict.partition import partition

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
    """A finished study with M3 whose every free text tries to become markup."""
    text = (study.HERE / "draft.yaml").read_text()
    text = text.replace("metrics: [M1, M2]", "metrics: [M1, M2, M3]").replace("resolution: 32", "resolution: 64")
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
    assert page.count("{{ 7 * 7 }}") >= 5  # shown, not evaluated
    assert not [tag for tag, _ in tags if tag in {"script", "a", "iframe", "object", "form"}]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    markdown = (study.outputs(nasty) / "report.md").read_text()
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\]\(", re.sub(r"\]\(report-(M|power)", "", markdown))


def test_severity_is_shown(finished: StudyRoot) -> None:
    for name in ("report.html", "report.md"):
        text = (study.outputs(finished) / name).read_text()
        assert re.search(r"Confirmed at the refuting border.*\d% \[", text, re.DOTALL)
        assert "Severity: shares in the scenario" in text


def test_nothing_is_fetched(finished: StudyRoot) -> None:
    fetches_nothing((study.outputs(finished) / "report.html").read_text())


def fetches_nothing(page: str) -> None:
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
        checkpoint = verdict["ledger_checkpoint"]
        assert Checkpoint(checkpoint["size"], Digest(checkpoint["root"])).short in page


CLOUDS = "report-M2-dM3.svg"


def test_findings_only_where_there_is_m3(nasty: StudyRoot, finished: StudyRoot) -> None:
    for name in ("report.html", "report.md"):
        with_m3, without = ((study.outputs(root) / name).read_text() for root in (nasty, finished))
        place = [with_m3.index(word) for word in ("Estimates", "Findings", "not preregistered", "Dose–response")]
        assert place == sorted(place)
        assert "Findings" not in without
        assert "not preregistered" not in without
    assert (study.outputs(nasty) / CLOUDS).exists()
    assert not (study.outputs(finished) / CLOUDS).exists()


def test_findings_say_what_was_computed(nasty: StudyRoot) -> None:
    evidence = gate(nasty, "small")
    document = evidence.registration.document
    finding = partition(evidence.table, as_video(document.design), resampling(document))
    assert finding is not None
    assert [(one.name, one.control) for one in finding.correlations if one.kind == "perturbation"] == [
        ("gaussian_noise", None),
        ("gaussian_noise", "tiny_wide"),
        ("frame_drops", None),
        ("frame_drops", "tiny_wide"),
    ]
    assert [(one.families, one.control) for one in finding.separations] == [
        (("image-noise", "time-axis"), control) for control in (None, "tiny_wide")
    ]
    for name in ("report.html", "report.md"):
        page = (study.outputs(nasty) / name).read_text()
        section = page[page.index("Findings") : page.index("Dose–response")]
        for one in finding.correlations:
            for estimate in (one.fisher, one.cluster, one.within):
                assert numbers.interval(estimate.low, estimate.high) in section
            assert numbers.number(one.fisher.value) in section
            assert numbers.number(one.within.value) in section
            assert words.noted(one.notes) in section
        for slope in (one.slope for one in finding.adjusted):
            assert numbers.interval(slope.low, slope.high) in section
            assert words.notes(slope, "source") in section
        assert "in place (small); intervals" in " ".join(section.split())
        for other in finding.separations:
            assert numbers.number(other.gap.value) in section
            assert numbers.interval(other.gap.low, other.gap.high) in section


def test_a_companion_is_beside_its_estimate(finished: StudyRoot) -> None:
    """The correlation within cells, put beside an estimate of this study."""
    evidence = gate(finished, "small")
    verdict = evaluate(evidence)
    judged = next(one for one in verdict.hypotheses if one.id == "H1")
    record = judged.estimates["rise"]
    within = STATISTICS["within_cell"].model_validate({"statistic": "within_cell", "x": "M1", "y": "M2", "where": {}})
    unknown = undefined(1, "expanded", Note(code="too-few-units"))
    subjects, control = (
        Estimate(value=value, low=value - 1, high=1.0, n=30, method="expanded") for value in (0.25, 0.5)
    )
    pages = []
    for one, other in ((subjects, control), (unknown, unknown)):
        companion = Companion(estimand=within, estimate=one, controls={"tiny_wide": other})
        records = {"rise": record.model_copy(update={"companion": companion})}
        changed = verdict.model_copy(update={"hypotheses": (judged.model_copy(update={"estimates": records}),)})
        report = build(evidence, changed, "chained")
        pages.append((report.html, report.markdown.replace("\\", "")))
    # In the table of verdicts, in the table of estimates, and there also for the control.
    for page in pages[0]:
        assert page.count("within cells 0.250 [-0.750, 1.000]") == 2
        assert page.count("within cells 0.500 [-0.500, 1.000]") == 1
    for page in pages[1]:
        assert page.count("within cells undefined: fewer than two sources have a value") == 3


def test_alternatives_that_disagree_are_listed(finished: StudyRoot) -> None:
    evidence = gate(finished, "small")
    (edition,) = evidence.registration.lineage
    alternatives = (
        Alternative(name="same", seed=8),
        Alternative(name="below", level=0.6, hypothesis="H1"),
        Alternative(name="fisher", interval="fisher"),
    )
    document = edition.document.model_copy(update={"sensitivity": alternatives})
    registration = replace(evidence.registration, lineage=(replace(edition, document=document),))
    verdict = evaluate(replace(evidence, registration=registration))
    judged = next(one for one in verdict.hypotheses if one.id == "H1")
    records = [("same", judged.verdict), ("below", "differs"), ("fisher", None)]
    found = tuple(AlternativeRecord.model_validate({"name": name, "outcome": outcome}) for name, outcome in records)
    changed = verdict.model_copy(update={"hypotheses": (judged.model_copy(update={"alternatives": found}),)})
    report = build(replace(evidence, registration=registration), changed, "chained")
    for page in (report.html, report.markdown):
        assert page.count("1 of 2 alternatives agrees") == 1
        assert "below: level 0.6" in page
        assert "depends on the source left out" in page
        assert "fisher: interval fisher" in page
        assert "bootstrap seed 8" not in page
    # The report of a real verdict names every outcome that differs.
    whole = build(replace(evidence, registration=registration), verdict, "chained").markdown
    for one in verdict.hypotheses:
        assert len(one.alternatives) == (3 if one.id == "H1" else 2)
        for record in one.alternatives:
            assert (f"| {one.id} | {one.verdict} | {record.name}: " in whole) == (record.outcome != one.verdict)


def test_the_scatter_is_self_contained_and_always_the_same(nasty: StudyRoot) -> None:
    fetches_nothing((study.outputs(nasty) / "report.html").read_text())
    evidence = gate(nasty, "small")
    figure = build(evidence, evaluate(evidence), "chained").figures[CLOUDS]
    assert figure == (study.outputs(nasty) / CLOUDS).read_text()
    assert "EXPLORATORY" not in figure
    addresses = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', figure)
    assert addresses
    assert all(address.startswith("#") for pair in addresses for address in pair if address)


def test_an_exploratory_finding_is_stamped(nasty: StudyRoot, tmp_path: Path) -> None:
    root = study.copied(nasty, tmp_path / "root")
    (cell,) = study.cells(root).glob("small-tiny-frame_drops-0.6-0-*")
    shutil.rmtree(cell)
    evidence = gate(root, "small", exploratory=True)
    report = build(evidence, evaluate(evidence), "chained")
    assert "<dc:title>EXPLORATORY M2 and ΔM3</dc:title>" in report.figures[CLOUDS]
    assert "1 cells missing" in report.markdown
    assert "1 cells missing" in report.html


def test_control_characters_never_reach_a_page(finished: StudyRoot) -> None:
    """Documents refuse them; what else a page quotes, such as file names and messages, is escaped."""
    evidence = gate(finished, "small")
    notice = "clips/\x1b[2Ka\u202egnp.mp4 <b>\x9b1m"
    page = build(evidence, evaluate(evidence), "chained", [notice])
    for text in (page.html, page.markdown):
        assert printable(text) == text
        assert "clips/\\u{1b}[2Ka\\u{202e}gnp.mp4" in text.replace("\\\\", "\\").replace("\\[", "[")
    assert "&lt;b&gt;" in page.html
