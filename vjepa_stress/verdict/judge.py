"""Judging: a pure function from a rule and its estimates to a verdict. A verdict holds codes and numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Literal

from pydantic import Field

from vjepa_stress.fields import Finite, Frozen
from vjepa_stress.rules import Combination, Decision, LeafRule, Outcome, Rule
from vjepa_stress.rules.base import Numbers, count
from vjepa_stress.statistics.numerics.estimate import Estimate, Note

Exploratory = Literal["exploratory-for", "exploratory-open", "exploratory-against"]
_EXPLORATORY: dict[str, Exploratory] = {
    "confirmed": "exploratory-for",
    "ambiguous": "exploratory-open",
    "refuted": "exploratory-against",
}
"""Exploratory results have their own outcomes, so that they cannot be quoted as verdicts."""

_CLAUSES: dict[str, Literal[Outcome, "undefined"]] = {
    "confirmed": "confirmed",
    "exploratory-for": "confirmed",
    "ambiguous": "ambiguous",
    "exploratory-open": "ambiguous",
    "refuted": "refuted",
    "exploratory-against": "refuted",
    "not-evaluable": "undefined",
}


class Levels(Frozen):
    """Levels of the intervals with which one leaf of a rule is confirmed and refuted.

    Attributes:
        confirm, refute: levels of the intervals, between 0 and 1.
        confirm_over, refute_over: by how much α is divided within the hypothesis, 1 or more.
    """

    confirm: Finite
    refute: Finite
    confirm_over: int = 1
    refute_over: int = 1


def levels_read(rule: Rule, levels: Sequence[Levels | None], own: float) -> Iterator[tuple[LeafRule, float]]:
    """Each leaf of a rule with each level of its intervals.

    Args:
        rule: the rule.
        levels: for each leaf of the rule in order, its levels; None for a leaf that reads those of the hypothesis.
        own: the level of the hypothesis.
    """
    for leaf, of_leaf in zip(rule.leaves(), levels, strict=True):
        for level in (of_leaf.confirm, of_leaf.refute) if of_leaf else (own,):
            yield leaf, level


class Verdict(Frozen):
    """Verdict of a rule on its estimates.

    Attributes:
        outcome: exactly one of four, or the exploratory form of it. A leaf is `not-evaluable` if its estimate is
            undefined, and a combination if its outcome depends on such a leaf.
        rule: path of the rule in the hypothesis: `rule`, `rule.of[0]`, …
        kind: kind of the rule.
        numbers: registered values and counts that the fired clause names. Estimates are not included: they may
            differ in the last digit on another machine, and a recomputed verdict must agree exactly.
        estimand: the estimand that the clause reads; null for a combination.
        notes: for a leaf that is `not-evaluable`, the reasons why its estimate is undefined.
        levels: for a leaf, the levels of the intervals that it read, if they differ from that of the hypothesis.
        parts: verdicts of the sub-rules, in order.
    """

    outcome: Literal[Outcome, Exploratory]
    rule: str
    kind: str
    numbers: Numbers = Field(default={}, exclude_if=lambda numbers: not numbers)
    estimand: str | None = Field(default=None, exclude_if=lambda name: name is None)
    notes: tuple[Note, ...] = Field(default=(), exclude_if=lambda notes: not notes)
    levels: Levels | None = Field(default=None, exclude_if=lambda levels: levels is None)
    parts: tuple[Verdict, ...] = Field(default=(), exclude_if=lambda parts: not parts)

    @property
    def clause(self) -> Literal[Outcome, "undefined"]:
        """The clause that fired: the outcome before it became exploratory, or `undefined`."""
        return _CLAUSES[self.outcome]

    def exploratory(self) -> Verdict:
        """The verdict with exploratory outcomes in every part."""
        parts = tuple(part.exploratory() for part in self.parts)
        return self.model_copy(update={"outcome": exploratory(self.outcome), "parts": parts})


def exploratory(outcome: str) -> str:
    """The exploratory form of an outcome. `not-evaluable` and `withdrawn` are returned unchanged."""
    return _EXPLORATORY.get(outcome, outcome)


def judge(
    rule: Rule,
    estimates: Mapping[str, Estimate],
    levels: Sequence[Levels | None] | None = None,
    at: Mapping[tuple[str, float], Estimate] | None = None,
) -> Verdict:
    """Apply a rule.

    Args:
        rule: a rule of the closed set.
        estimates: estimates by name, for all leaves of the rule.
        levels: for each leaf of the rule in order, the levels of the intervals with which it is decided; None for a
            leaf that is decided with `estimates`. The default is None for all leaves.
        at: estimates by name and level, for all leaves with levels.

    Returns:
        Exactly one verdict for every possible estimate, because the regions are exhaustive and disjoint.

    Raises:
        KeyError: when an estimate is not given.
    """
    each = iter(levels) if levels is not None else repeat(None)
    verdict, _, _ = _judge(rule, estimates, each, at or {}, "rule")
    return verdict


def _judge(
    rule: Rule,
    estimates: Mapping[str, Estimate],
    levels: Iterator[Levels | None],
    at: Mapping[tuple[str, float], Estimate],
    path: str,
) -> tuple[Verdict, Outcome, Outcome]:
    """The verdict, and its outcomes if all undefined leaves were refuted and if all were confirmed.

    Combinations are monotone in the outcomes of their parts. If both outcomes are equal, no outcomes of the undefined
    leaves would change it.
    """
    if isinstance(rule, LeafRule):
        leaf, outcome = _leaf(rule, estimates, next(levels), at, path)
        return (leaf, "refuted", "confirmed") if outcome == "not-evaluable" else (leaf, outcome, outcome)
    if not isinstance(rule, Combination):
        raise TypeError(f"neither a LeafRule nor a Combination: {rule!r}")
    judged = [_judge(part, estimates, levels, at, f"{path}.of[{n}]") for n, part in enumerate(rule.of)]
    parts = tuple(part for part, _, _ in judged)
    worst = rule.combine([low for _, low, _ in judged]).outcome
    best = rule.combine([high for _, _, high in judged]).outcome
    outcomes: list[str] = [part.outcome for part in parts]
    confirmed, refuted = count(outcomes)
    numbers: Numbers = {**rule.numbers(), "n_confirmed": confirmed, "n_refuted": refuted}
    if undefined := outcomes.count("not-evaluable"):
        numbers["n_undefined"] = undefined
    combined: Outcome = worst if worst == best else "not-evaluable"
    return Verdict(outcome=combined, rule=path, kind=rule.kind, numbers=numbers, parts=parts), worst, best


def _leaf(
    rule: LeafRule,
    estimates: Mapping[str, Estimate],
    levels: Levels | None,
    at: Mapping[tuple[str, float], Estimate],
    path: str,
) -> tuple[Verdict, Outcome]:
    name = rule.estimand
    confirming, refuting = (
        (at[name, levels.confirm], at[name, levels.refute]) if levels else (estimates[name], estimates[name])
    )
    undefined = next((one for one in (confirming, refuting) if not one.defined), None)
    outcome: Outcome = "not-evaluable" if undefined else decide(rule, confirming, refuting)
    verdict = Verdict(
        outcome=outcome,
        rule=path,
        kind=rule.kind,
        numbers=rule.numbers(),
        estimand=name,
        notes=undefined.notes if undefined else (),
        levels=levels,
    )
    return verdict, outcome


def decide(rule: LeafRule, estimate: Estimate, refuting: Estimate | None = None) -> Outcome:
    """The outcome of a rule for a defined estimate.

    Args:
        rule: the rule.
        estimate: the estimate that can confirm.
        refuting: the estimate that can refute, if its interval has another level. A rule that is confirmed by one and
            refuted by the other is ambiguous. This is impossible if the wider interval implies the narrower one.

    Raises:
        ValueError: for an undefined estimate.
    """
    first = _decision(rule, estimate)
    if refuting is None or refuting is estimate:
        return first.outcome
    second = _decision(rule, refuting)
    return Decision(first.confirmed and not second.refuted, second.refuted and not first.confirmed).outcome


def _decision(rule: LeafRule, estimate: Estimate) -> Decision:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        raise ValueError(f"{rule.estimand} is undefined")
    return rule.decide(estimate.value, estimate.low, estimate.high, estimate)


def closed_gates(gates: Mapping[str, str]) -> dict[str, str]:
    """The gates that prevent the evaluation of all other hypotheses.

    A withdrawn calibration hypothesis is not a gate. If all are withdrawn, no gate is confirmed, and nothing is
    evaluated.

    Args:
        gates: verdicts of the calibration hypotheses, by id.
    """
    closed = {name: outcome for name, outcome in gates.items() if outcome not in ("confirmed", "withdrawn")}
    return closed if closed or "confirmed" in gates.values() else dict(gates)


def worst(outcomes: Sequence[str]) -> int:
    """Exit code of `verdict --strict`. 11 takes precedence over 10, 10 over 20, and 20 over 0."""
    for outcome, code in (("not-evaluable", 11), ("refuted", 10), ("ambiguous", 20)):
        if outcome in outcomes:
            return code
    return 0
