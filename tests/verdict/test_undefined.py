"""Undefined estimates: a combination is undefined only if its outcome depends on an undefined part."""

import re
from itertools import count, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjepa_stress.report import words
from vjepa_stress.rules import Combination, LeafRule, Rule
from vjepa_stress.rules.all_of import AllOf
from vjepa_stress.rules.any_of import AnyOf
from vjepa_stress.rules.count import Count
from vjepa_stress.rules.threshold import Threshold
from vjepa_stress.statistics.numerics.estimate import Estimate, Note
from vjepa_stress.verdict.judge import Verdict, judge, worst

VALUES = {"confirmed": 1.0, "ambiguous": 0.5, "refuted": 0.0}


def leaf(name: str) -> Threshold:
    fields = {"direction": "above", "confirm_at": 0.9, "refute_at": 0.1, "use": "interval"}
    return Threshold.model_validate({"kind": "threshold", "estimand": name, **fields})


def estimate(outcome: str) -> Estimate:
    """An estimate that gives `leaf` an outcome."""
    value = VALUES.get(outcome)
    notes = () if value is not None else (Note(code="no-value"),)
    return Estimate(value=value, low=value, high=value, n=9, method="percentile", notes=notes)


def judged(rule: Rule, outcomes: list[str]) -> Verdict:
    names = [one.estimand for one in rule.leaves()]
    return judge(rule, {name: estimate(one) for name, one in zip(names, outcomes, strict=True)})


def leaves(n: int) -> tuple[Rule, ...]:
    return tuple(leaf(f"x{k}") for k in range(n))


UNDEFINED = "not-evaluable"


@pytest.mark.parametrize(
    ("rule", "outcomes", "expected"),
    [
        (AllOf(kind="all_of", of=leaves(2)), ["refuted", UNDEFINED], "refuted"),
        (AllOf(kind="all_of", of=leaves(2)), ["confirmed", UNDEFINED], UNDEFINED),
        (AllOf(kind="all_of", of=leaves(2)), ["ambiguous", UNDEFINED], UNDEFINED),
        (AnyOf(kind="any_of", of=leaves(2)), ["confirmed", UNDEFINED], "confirmed"),
        (AnyOf(kind="any_of", of=leaves(2)), ["refuted", UNDEFINED], UNDEFINED),
        (
            Count(kind="count", of=leaves(20), confirm_at_least=18, refute_at_least=6),
            ["confirmed"] * 19 + [UNDEFINED],
            "confirmed",
        ),
        (
            Count(kind="count", of=leaves(20), confirm_at_least=18, refute_at_least=6),
            ["confirmed"] * 17 + ["refuted"] * 2 + [UNDEFINED],
            UNDEFINED,
        ),
        # The inner rule depends on its undefined part, but can at best be ambiguous; so can the outer rule.
        (
            AnyOf(kind="any_of", of=(AllOf(kind="all_of", of=leaves(2)), leaf("y"))),
            ["ambiguous", UNDEFINED, "ambiguous"],
            "ambiguous",
        ),
    ],
)
def test_what_depends_on_an_undefined_part(rule: Rule, outcomes: list[str], expected: str) -> None:
    assert judged(rule, outcomes).outcome == expected


@st.composite
def trees(draw: st.DrawFn) -> Rule:
    """A rule of at most seven leaves, which read different estimands."""
    names = (f"x{n}" for n in count())

    def tree(depth: int) -> Rule:
        kind = draw(st.sampled_from(["leaf", "all_of", "any_of", "count"])) if depth else "leaf"
        if kind == "leaf":
            return leaf(next(names))
        parts = tuple(tree(depth - 1) for _ in range(draw(st.integers(1, 2 if depth < 2 else 3))))
        if kind == "all_of":
            return AllOf(kind="all_of", of=parts)
        if kind == "any_of":
            return AnyOf(kind="any_of", of=parts)
        confirm = draw(st.integers(1, len(parts)))
        refute = draw(st.integers(len(parts) - confirm + 1, len(parts)))
        return Count(kind="count", of=parts, confirm_at_least=confirm, refute_at_least=refute)

    return tree(2)


@settings(max_examples=200, deadline=None)
@given(trees(), st.data())
def test_the_outcome_is_that_of_all_completions_or_none(rule: Rule, data: st.DataObject) -> None:
    """Brute force: every undefined leaf is replaced by every outcome."""
    n = len(list(rule.leaves()))
    outcomes = data.draw(st.lists(st.sampled_from([*VALUES, UNDEFINED]), min_size=n, max_size=n))
    options = [list(VALUES) if one == UNDEFINED else [one] for one in outcomes]
    completed = {judged(rule, list(chosen)).outcome for chosen in product(*options)}
    verdict = judged(rule, outcomes)
    assert verdict.outcome == (completed.pop() if len(completed) == 1 else UNDEFINED)
    leaves_below = [one for one in below(verdict) if one.estimand is not None]
    assert [one.outcome for one in leaves_below] == outcomes
    assert all(bool(one.notes) == (one.outcome == UNDEFINED) for one in leaves_below)


def below(verdict: Verdict) -> list[Verdict]:
    return [verdict, *(one for part in verdict.parts for one in below(part))]


@given(trees(), st.data())
def test_counts_needed_are_those_that_decide(rule: Rule, data: st.DataObject) -> None:
    """`needed` restates each kind of combination in numbers of sub-rules."""
    if isinstance(rule, LeafRule):
        return
    assert isinstance(rule, Combination)
    n = len(rule.of)
    outcomes = data.draw(st.lists(st.sampled_from(list(VALUES)), min_size=n, max_size=n))
    decision = rule.combine(outcomes)
    if isinstance(rule, AllOf):
        assert decision == (set(outcomes) == {"confirmed"}, "refuted" in outcomes)
    elif isinstance(rule, AnyOf):
        assert decision == ("confirmed" in outcomes, set(outcomes) == {"refuted"})


def test_texts_name_the_undefined_part() -> None:
    rule = AnyOf(kind="any_of", of=(leaf("a"), AllOf(kind="all_of", of=(leaf("b"), leaf("c")))))
    outcomes = ["confirmed", "confirmed", UNDEFINED]
    decided, open_ = judged(rule, outcomes), judged(rule, ["refuted", *outcomes[1:]])
    assert words.clause(decided, "question") == (
        "any_of: 1 confirmed and 0 refuted of 2 (confirmed needs one, refuted needs all); the outcome does not "
        "depend on the undefined estimate: c: the statistic is undefined for these questions"
    )
    why = "undefined estimate: c: the statistic is undefined for these questions"
    assert words.clause(open_, "question") == why
    seen = {name: estimate(one) for name, one in zip("abc", outcomes, strict=True)}
    lines = words.explain(decided, seen).splitlines()
    assert [line.split(",")[0].strip() for line in lines] == [
        "confirmed",
        "confirmed",
        UNDEFINED,
        "confirmed",
        UNDEFINED,
    ]
    assert not re.search(r"confirm|refut|ambiguous", words.explain(decided.exploratory(), seen))
    assert worst([decided.outcome]) == 0
    assert worst([open_.outcome]) == 11
