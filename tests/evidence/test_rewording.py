"""Sentences can be reworded at any time: no digest, no stored verdict and no audit depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.evidence.audit import audit
from vjepa_stress.prereg import freeze
from vjepa_stress.records import read_cell
from vjepa_stress.report import verdicts, words
from vjepa_stress.rules import RULES
from vjepa_stress.statistics import STATISTICS
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.evaluate import evaluate
from vjepa_stress.verdict.gate import gate

NEW = "In other words: "


def reworded(table: Mapping[Any, Any]) -> dict[Any, Any]:
    """Every template of a table with more words before it."""
    return {
        code: NEW + text if isinstance(text, str) else tuple(NEW + part for part in text)
        for code, text in table.items()
    }


@pytest.fixture
def judged(attacked: StudyRoot) -> StudyRoot:
    """The finished study, amended and judged once more, so that it has deviations."""
    draft = (study.HERE / "draft.yaml").read_text().replace("confirm_at: 0.9", "confirm_at: 0.8")
    for done in (
        study.amend(attacked, study.amended(draft)),
        study.withdraw(attacked, "H2.ratio"),
        study.command("report", "--root", attacked.path, "small"),
    ):
        assert done.code == 0, done.err
    return attacked


def state(root: StudyRoot) -> dict[str, object]:
    """Every digest, and what the evidence gives."""
    registration = freeze.load(root, "small")
    evidence = gate(root, "small")
    return {
        "documents": [edition.digest for edition in registration.lineage],
        "written": [freeze.to_bytes(edition.document) for edition in registration.lineage],
        "ledger": ledger.read(root).checkpoint(),
        "cells": [read_cell(folder).manifest_digest for folder in sorted(study.cells(root).iterdir())],
        "configurations": [evidence.registration.document.design.config_digest(cell) for cell in evidence.cells],
        "verdict": evaluate(evidence).to_bytes(),
    }


def reword(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reword every table of templates, and the words of every rule and statistic."""
    tables = [
        name
        for name, value in vars(words).items()
        if name.isupper() and isinstance(value, Mapping) and name not in ("RULES", "STATISTICS")
    ]
    assert {"METHODS", "NOTES", "FINDINGS", "DEVIATIONS", "OBJECTIONS", "OUTCOMES"} <= set(tables)
    for name in tables:
        monkeypatch.setattr(words, name, reworded(getattr(words, name)))
    for rule in RULES.values():
        monkeypatch.setattr(rule, "words", reworded(rule.words))
    for statistic in STATISTICS.values():
        monkeypatch.setattr(statistic, "words", reworded(statistic.words))


def sentences(root: StudyRoot) -> list[str]:
    """What a report would say of each hypothesis, estimate and deviation."""
    evidence = gate(root, "small")
    verdict = evaluate(evidence)
    return [
        *(verdicts.reason(one) for one in verdict.hypotheses),
        *(words.rule(one.rule) for one in verdict.hypotheses),
        *(words.estimand(record.estimand) for one in verdict.hypotheses for record in one.estimates.values()),
        *(words.method(record.estimate) for one in verdict.hypotheses for record in one.estimates.values()),
        *(" ".join(words.deviation(one)) for one in verdict.deviations),
    ]


def test_rewording_changes_every_sentence_and_no_evidence(judged: StudyRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = (study.outputs(judged) / "verdict.json").read_bytes()
    before, said, audited = state(judged), sentences(judged), audit(judged, "small")
    assert before["verdict"] == stored
    reword(monkeypatch)
    assert all(new != old and NEW in new for new, old in zip(sentences(judged), said, strict=True))
    assert state(judged) == before
    assert audit(judged, "small") == audited
    done = study.command("audit", "small", "--root", judged.path)
    assert done.code == 0, done.err


def test_a_report_in_other_words_is_another_file_and_the_same_verdict(
    judged: StudyRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study.outputs(judged)
    page, verdict = (folder / "report.md").read_bytes(), (folder / "verdict.json").read_bytes()
    reword(monkeypatch)
    # The page of before is the one that was logged, whatever would be written today.
    assert study.command("audit", "small", "--root", judged.path).code == 0
    assert study.command("report", "small", "--root", judged.path).code == 0
    assert NEW.encode() in (folder / "report.md").read_bytes()
    assert (folder / "report.md").read_bytes() != page
    assert (folder / "verdict.json").read_bytes() == verdict
    assert study.command("audit", "small", "--root", judged.path).code == 0


def test_no_sentence_is_stored(judged: StudyRoot) -> None:
    """Of every sentence that a report makes of it, the verdict holds none."""
    stored = (study.outputs(judged) / "verdict.json").read_text()
    for sentence in sentences(judged):
        if " " in sentence:
            assert sentence not in stored
