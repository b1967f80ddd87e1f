"""Texts for codes: rewording changes no digest; every code has a text; exploratory texts do not read as verdicts."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import given

from tests.verdict import sketch
from tests.verdict.test_evaluate import DESIGN, ESTIMANDS, FISHER, RULE, evidence
from tests.verdict.test_judge import estimates, rules
from vjepa_stress.digest import canonical_json
from vjepa_stress.errors import CellsIncomplete
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.report import verdicts, words
from vjepa_stress.rules import RULES, LeafRule, Rule
from vjepa_stress.statistics import STATISTICS
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, NoteCode
from vjepa_stress.verdict.check import Finding, check
from vjepa_stress.verdict.evaluate import HypothesisVerdict, evaluate
from vjepa_stress.verdict.judge import Verdict, judge
from vjepa_stress.verdict.multiverse import AlternativeRecord

VERDICTS = re.compile(r"confirm|refut|ambiguous", re.IGNORECASE)
FLOOR = {"statistic": "maximum", "metric": "M1", "where": {"perturbation": ["noise"]}}
LIMIT = {"kind": "threshold", "estimand": "floor", "direction": "below", "use": "point"}


def study(at: float = 2.0, **more: Any) -> Preregistration:
    """A gate that holds when no M1 is above `at`, and a hypothesis that reads every statistic."""
    gate = {**LIMIT, "confirm_at": at, "refute_at": at}
    hypotheses = [
        sketch.hypothesis("C1", {"floor": FLOOR}, gate, "calibration"),
        sketch.hypothesis("H1", ESTIMANDS, RULE),
        sketch.hypothesis("H2", ESTIMANDS, {**RULE, "kind": "all_of"}),
    ]
    return sketch.document(DESIGN, hypotheses, **more)


def templates() -> Iterator[tuple[object, str, Mapping[str, Any]]]:
    """Every table of templates: what has it, under which name, and the table."""
    for name in ("NOTES", "METHODS", "FINDINGS", "DEVIATIONS", "OBJECTIONS"):
        yield words, name, getattr(words, name)
    for rule in RULES.values():
        yield rule, "words", rule.words
    for statistic in STATISTICS.values():
        yield statistic, "words", statistic.words


def fixed_texts() -> set[str]:
    """What stands between the gaps of all templates, where it is longer than a word."""
    found = set()
    for _, _, table in templates():
        for one in table.values():
            for text in (one,) if isinstance(one, str) else one:
                parts = (part.strip(" ;,:()[]") for part, *_ in string.Formatter().parse(text))
                found |= {part for part in parts if " " in part}
    return found


class Reworded(dict[str, Any]):
    """The same codes with other words."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        super().__init__(
            {
                code: f"NEW {one}" if isinstance(one, str) else tuple(f"NEW {part}" for part in one)
                for code, one in table.items()
            }
        )


def test_rewording_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    document = study(sensitivity=[FISHER])
    table = sketch.table(document)
    one = Finding("suggestion", "no-calibration", "hypotheses")

    def texts() -> list[str]:
        (_, first, _) = evaluate(evidence(document, table)).hypotheses
        assert first.decision is not None
        seen = {name: record.estimate for name, record in first.estimates.items()}
        return [
            verdicts.explain(first.decision, seen),
            words.method(seen["mean"]),
            words.note(Note(code="constant")),
            words.finding(one),
            words.rule(document.hypotheses[1].rule),
            words.estimand(document.hypotheses[1].estimands["mean"]),
        ]

    before, said = evaluate(evidence(document, table)).to_bytes(), texts()
    findings = check(document)
    for where, name, templates_ in list(templates()):
        monkeypatch.setattr(where, name, Reworded(templates_))
    assert evaluate(evidence(document, table)).to_bytes() == before
    assert check(document) == findings
    for old, new in zip(said, texts(), strict=True):
        assert "NEW" not in old
        assert "NEW" in new


def test_no_sentence_is_in_a_verdict() -> None:
    document = study(sensitivity=[FISHER])
    assert len(fixed_texts()) > 40
    objection = CellsIncomplete("the cells present are not exactly the cells registered", where="here")
    for objections in ((), (objection,)):
        found = evidence(document, sketch.table(document))
        found = type(found)(**{**vars(found), "objections": objections})
        written = evaluate(found).to_bytes().decode()
        assert [text for text in fixed_texts() if text in written] == []
    assert '"objections":["CellsIncomplete"]' in written


def test_every_code_has_words() -> None:
    assert set(words.NOTES) == set(get_args(NoteCode))
    assert set(words.METHODS) == set(get_args(Method))
    for code in get_args(NoteCode):
        text = words.note(Note(code=code, value=3, columns=("M1", "M2")), "question")
        assert text
        assert "clip" not in text
        assert not re.search(r"[{}]", text)
    for method in get_args(Method):
        estimate = Estimate(value=1.0, low=1.0, high=1.0, n=3, method=method, pairs=9)
        assert words.method(estimate, "question").startswith("9 pairs; ")
        assert "clip" not in words.method(estimate, "question")


def test_notes_have_their_numbers() -> None:
    assert words.note(Note(code="undefined-values", value=12, columns=("M2", "dM3"))) == (
        "12 undefined values of M2 or dM3"
    )
    assert words.note(Note(code="no-value-in-resamples", value=0.0125)) == (
        "the statistic is undefined in 1.25% of the resamples"
    )
    assert words.note(Note(code="values-left-out", value=1234567)) == "1234567 undefined values left out"


def test_findings_have_whole_numbers() -> None:
    values: dict[str, str | float | int] = {
        "sources": 1500,
        "low": 0.5,
        "high": 0.501,
        "largest": 0.00988,
        "hypothesis": "H1",
        "estimand": "x",
    }
    text = words.finding(Finding("warning", "too-few-clips", "H1.x", values))
    assert text == (
        "warning (too-few-clips) H1.x: with 1500 sources, its interval fits into [0.5, 0.501] only if the standard "
        "deviation between sources is 0.00988 or less. Change the draft, or add to `acknowledged`: "
        "{warning: too-few-clips, hypothesis: H1, estimand: x, reason: …}"
    )


def below(verdict: Verdict) -> Iterator[Verdict]:
    yield verdict
    for part in verdict.parts:
        yield from below(part)


@given(rules(), estimates(), estimates(), estimates())
def test_an_exploratory_reading_never_has_the_words_of_a_verdict(
    rule: Rule, x: Estimate, y: Estimate, z: Estimate
) -> None:
    seen = {"x": x, "y": y, "z": z}
    verdict = judge(rule, seen)
    explored = verdict.exploratory()
    for one, other in zip(below(verdict), below(explored), strict=True):
        assert other.outcome.startswith("exploratory-")
        assert (other.rule, other.clause, other.numbers) == (one.rule, one.clause, one.numbers)
        assert not VERDICTS.search(verdicts.clause(other))
        assert one.kind in verdicts.clause(other)
    text = verdicts.explain(explored, seen)
    assert not VERDICTS.search(text)
    assert len(text.splitlines()) == len(list(below(verdict)))


@given(rules())
def test_an_undefined_reading_says_why(rule: Rule) -> None:
    undefined = Estimate(value=None, low=None, high=None, n=0, method="none", notes=(Note(code="no-value"),))
    verdict = judge(rule, dict.fromkeys("xyz", undefined))
    assert verdict.exploratory().outcome == "not-evaluable"
    names = sorted({leaf.estimand for leaf in rule.leaves()})
    said = "; ".join(f"{name}: the statistic is undefined for these questions" for name in names)
    assert verdicts.clause(verdict, "question") == f"undefined estimate: {said}"


@given(rules())
def test_rules_say_what_they_ask_for_in_registered_numbers(rule: Rule) -> None:
    text = words.rule(rule)
    assert not re.search(r"[{}]", text)
    for leaf in rule.leaves():
        for number in leaf.numbers().values():
            if isinstance(number, float):
                assert repr(number).removesuffix(".0") in text
    if isinstance(rule, LeafRule):
        assert "refuted" in text


def hypotheses(document: Preregistration) -> tuple[HypothesisVerdict, ...]:
    found = evidence(document, sketch.table(document))
    objection = CellsIncomplete("the cells present are not exactly the cells registered", where="here")
    return evaluate(type(found)(**{**vars(found), "objections": (objection,)})).hypotheses


@pytest.mark.parametrize("at", [2.0, 0.5, 0.0])
def test_no_reason_of_an_exploratory_study_is_a_verdict(at: float) -> None:
    """Neither where the calibration gate holds nor where it does not."""
    found = hypotheses(study(at, sensitivity=[FISHER]))
    assert any(one.gates for one in found) == (at < 2)
    for one in found:
        assert one.verdict.startswith("exploratory-") or one.gates
        assert not VERDICTS.search(verdicts.reason(one))
        assert not VERDICTS.search(verdicts.status(one))
        assert all(record.outcome.startswith("exploratory-") for record in one.alternatives if record.outcome)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"interval": "bca"}, "interval bca"),
        ({"level": 0.99, "seed": 0}, "level 0.99, bootstrap seed 0"),
        ({"where": {"strength": [0.6, 1.0]}}, "only strength 0.6, 1"),
        ({"statistic": "spearman"}, "statistic spearman"),
        ({"leave_one_source_out": True}, "without each source in turn (with fewer resamples, at least 1000 each)"),
    ],
)
def test_an_alternative_in_words(change: dict[str, Any], text: str) -> None:
    assert words.alternative(Alternative.model_validate({"name": "one", **change})) == text


def test_the_share_of_alternatives_that_agree() -> None:
    def said(*outcomes: Any) -> str:
        alternatives = tuple(AlternativeRecord(name=f"a{n}", outcome=one) for n, one in enumerate(outcomes))
        one: Any = SimpleNamespace(verdict="confirmed", alternatives=alternatives)
        return verdicts.agreement(one)

    assert said() == said(None) == ""
    assert said("confirmed", "confirmed", "differs", None) == "2 of 3 alternatives agree"
    assert said("confirmed", "refuted") == "1 of 2 alternatives agrees"
    assert words.under_alternative(None) == "does not apply"
    assert words.under_alternative("refuted") == "refuted"


def test_withdrawn_hypotheses_quote_their_amendment() -> None:
    withdrawal: Any = SimpleNamespace(version="v2", cells_lost=True)
    one: Any = SimpleNamespace(withdrawal=withdrawal)
    assert verdicts.reason(one, changes={"v2": "H1 is ill-posed"}) == (
        "withdrawn in v2: H1 is ill-posed (Not all of its cells are in the design.)"
    )


def test_the_words_of_a_rule_survive_canonical_json() -> None:
    """Texts in `numbers` are values of the rule's own fields; nothing else is a text."""
    for kind in RULES.values():
        if issubclass(kind, LeafRule):
            continue
        assert set(kind.words) == {"needs"}
    rule = sketch.threshold("x", 0.5, 0.1)
    seen = {"x": Estimate(value=0.7, low=0.6, high=0.8, n=9, method="percentile")}
    document = sketch.document(DESIGN, [sketch.hypothesis("H1", {"x": ESTIMANDS["mean"]}, rule)])
    verdict = judge(document.hypotheses[0].rule, seen)
    codes = {name: value for name, value in verdict.numbers.items() if isinstance(value, str)}
    assert codes == {"direction": rule["direction"], "use": rule["use"]}
    assert Verdict.model_validate_json(canonical_json(verdict.model_dump(mode="json"))) == verdict
