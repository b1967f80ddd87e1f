"""Judging: a pure function from a rule and its estimates to a verdict. A verdict holds codes and numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from vjepa_stress.fields import Frozen
from vjepa_stress.rules import Combination, LeafRule, Outcome, Rule
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


class Verdict(Frozen):
    """Verdict of a rule on its estimates.

    Attributes:
        outcome: exactly one of four, `not-evaluable` if an estimate is undefined; or the exploratory form of it.
        rule: path of the rule in the hypothesis: `rule`, `rule.of[0]`, …
        kind: kind of the rule.
        numbers: registered values and counts that the fired clause names. Estimates are not included: they may
            differ in the last digit on another machine, and a recomputed verdict must agree exactly.
        estimand: the estimand that the clause reads; null for a combination.
        undefined: if `not-evaluable`, the undefined estimands and the reasons.
        parts: verdicts of the sub-rules, in order.
    """

    outcome: Literal[Outcome, Exploratory]
    rule: str
    kind: str
    numbers: Numbers = Field(default={}, exclude_if=lambda numbers: not numbers)
    estimand: str | None = Field(default=None, exclude_if=lambda name: name is None)
    undefined: dict[str, tuple[Note, ...]] = Field(default={}, exclude_if=lambda names: not names)
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


def judge(rule: Rule, estimates: Mapping[str, Estimate]) -> Verdict:
    """Apply a rule.

    Args:
        rule: a rule of the closed set.
        estimates: estimates by name, for all leaves of the rule.

    Returns:
        Exactly one verdict for every possible estimate, because the regions are exhaustive and disjoint.

    Raises:
        KeyError: when an estimate is not given.
    """
    read = sorted({leaf.estimand for leaf in rule.leaves()})
    undefined = {name: estimates[name].notes for name in read if not estimates[name].defined}
    if undefined:
        return Verdict(outcome="not-evaluable", rule="rule", kind=rule.kind, undefined=undefined)
    return _judge(rule, estimates, "rule")


def _judge(rule: Rule, estimates: Mapping[str, Estimate], path: str) -> Verdict:
    if isinstance(rule, LeafRule):
        outcome = decide(rule, estimates[rule.estimand])
        return Verdict(
            outcome=outcome,
            rule=path,
            kind=rule.kind,
            numbers=rule.numbers(),
            estimand=rule.estimand,
        )
    if not isinstance(rule, Combination):
        raise TypeError(f"neither a LeafRule nor a Combination: {rule!r}")
    parts = tuple(_judge(part, estimates, f"{path}.of[{n}]") for n, part in enumerate(rule.of))
    outcomes = [part.outcome for part in parts]
    outcome = rule.combine(outcomes).outcome
    confirmed, refuted = count(outcomes)
    numbers = {**rule.numbers(), "n_confirmed": confirmed, "n_refuted": refuted}
    return Verdict(outcome=outcome, rule=path, kind=rule.kind, numbers=numbers, parts=parts)


def decide(rule: LeafRule, estimate: Estimate) -> Outcome:
    """The outcome of a rule for a defined estimate.

    Raises:
        ValueError: for an undefined estimate.
    """
    if estimate.value is None or estimate.low is None or estimate.high is None:
        raise ValueError(f"{rule.estimand} is undefined")
    return rule.decide(estimate.value, estimate.low, estimate.high, estimate).outcome


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
