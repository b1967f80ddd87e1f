"""Rules to verdicts: a pure function of a rule and its estimates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from vjepa_stress.prereg.rules import AllOf, AnyOf, Band, Count, Equivalence, Leaf, Monotone, Rule, leaves
from vjepa_stress.verdict.estimate import Estimate

Outcome = Literal["confirmed", "ambiguous", "refuted", "not-evaluable"]
_Word = TypeVar("_Word", bound=str)
Exploratory = Literal["exploratory-for", "exploratory-open", "exploratory-against"]
# An exploratory reading has words of its own, so that no page of it can be quoted as a verdict.
_EXPLORATORY: dict[str, Exploratory] = {
    "confirmed": "exploratory-for",
    "ambiguous": "exploratory-open",
    "refuted": "exploratory-against",
}
_REWORDED = {
    "confirmed": "for",
    "ambiguous": "open",
    "refuted": "against",
    "one for confirms": "one for suffices",
    "one against refutes": "one against is enough against it",
}


class Verdict(BaseModel):
    """What a rule says of its estimates.

    Attributes:
        outcome: exactly one of four, not-evaluable when an estimate is undefined; or an exploratory word for it.
        clause: the clause that fired. It holds registered numbers only: a recomputed clause must agree exactly,
            while an estimate may differ in its last digit on another machine.
        estimand: what the clause read, for rules that read one.
        parts: verdicts of the sub-rules, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal[Outcome, Exploratory]
    clause: str
    estimand: str | None = None
    parts: tuple[Verdict, ...] = ()


def said_exploratory(outcome: _Word) -> _Word | Exploratory:
    """The exploratory word for an outcome; what is no verdict stays what it is."""
    return _EXPLORATORY.get(outcome, outcome)


def clause_exploratory(clause: str) -> str:
    """A clause without the words of verdicts."""
    for word, other in _REWORDED.items():
        clause = re.sub(rf"\b{word}\b", other, clause)
    return clause


def verdict_exploratory(verdict: Verdict) -> Verdict:
    """What a rule and its sub-rules say, without the words of verdicts."""
    return verdict.model_copy(
        update={
            "outcome": said_exploratory(verdict.outcome),
            "clause": clause_exploratory(verdict.clause),
            "parts": tuple(verdict_exploratory(part) for part in verdict.parts),
        }
    )


def judge(rule: Rule, estimates: Mapping[str, Estimate]) -> Verdict:
    """Apply a rule.

    Args:
        rule: a rule of the closed algebra.
        estimates: by the names that the rule's leaves read.

    Returns:
        One verdict for every possible estimate: the regions are exhaustive and disjoint.

    Raises:
        KeyError: when an estimate is not given at all.
    """
    undefined = sorted({leaf.estimand for leaf in leaves(rule) if not estimates[leaf.estimand].defined})
    if undefined:
        reasons = "; ".join(f"{name}: {estimates[name].note or 'undefined'}" for name in undefined)
        return Verdict(outcome="not-evaluable", clause=f"undefined estimate: {reasons}")
    return _judge(rule, estimates)


def _judge(rule: Rule, estimates: Mapping[str, Estimate]) -> Verdict:
    if not isinstance(rule, Count | AllOf | AnyOf):
        estimate = estimates[rule.estimand]
        outcome = outcome_of(*regions(rule, estimate))
        clause = f"{rule.kind}: {_position(rule, outcome)}"
        return Verdict(outcome=outcome, clause=clause, estimand=rule.estimand)
    parts = tuple(_judge(part, estimates) for part in rule.of)
    outcome = outcome_of(*combined(rule, [part.outcome for part in parts]))
    confirmed, refuted = (sum(part.outcome == said for part in parts) for said in ("confirmed", "refuted"))
    clause = f"{rule.kind}: {confirmed} confirmed and {refuted} refuted of {len(parts)} ({_needs(rule)})"
    return Verdict(outcome=outcome, clause=clause, parts=parts)


def outcome_of(confirmed: bool, refuted: bool) -> Outcome:
    """The outcome of an estimate's, or a combination's, place in the two regions."""
    return "confirmed" if confirmed else "refuted" if refuted else "ambiguous"


def regions(rule: Leaf, estimate: Estimate) -> tuple[bool, bool]:
    """Whether a defined estimate lies in a rule's region of confirmation, and of refutation; never in both."""
    assert estimate.value is not None  # noqa: S101  # checked by `judge`
    assert estimate.low is not None  # noqa: S101
    assert estimate.high is not None  # noqa: S101
    low, high = estimate.low, estimate.high
    if isinstance(rule, Monotone):
        return _monotone(rule, estimate)
    if isinstance(rule, Band):
        return rule.low <= low and high <= rule.high, high < rule.low or low > rule.high
    if isinstance(rule, Equivalence):
        return -rule.margin <= low and high <= rule.margin, high < -rule.margin or low > rule.margin
    if rule.use == "point":
        low = high = estimate.value
    if rule.direction == "above":
        return low >= rule.confirm_at, high < rule.refute_at
    return high <= rule.confirm_at, low > rule.refute_at


def _monotone(rule: Monotone, estimate: Estimate) -> tuple[bool, bool]:
    assert estimate.overall is not None  # noqa: S101  # an estimate of jumps has it whenever it is defined
    along = -1.0 if rule.order == "falling" else 1.0
    against = any(-along * step.value > rule.noise * step.half_width for step in estimate.steps)
    gained = along * estimate.overall.value > rule.noise * estimate.overall.half_width
    return gained and not against, against


def combined(rule: Count | AllOf | AnyOf, outcomes: Sequence[str]) -> tuple[bool, bool]:
    """Whether a combination is confirmed, and refuted, by what its sub-rules say; never both."""
    confirmed, refuted = (sum(outcome == said for outcome in outcomes) for said in ("confirmed", "refuted"))
    if isinstance(rule, Count):
        return confirmed >= rule.confirm_at_least, refuted >= rule.refute_at_least
    if isinstance(rule, AllOf):
        return confirmed == len(outcomes), refuted > 0
    return confirmed > 0, refuted == len(outcomes)


def _needs(rule: Count | AllOf | AnyOf) -> str:
    if isinstance(rule, Count):
        return f"confirmed needs {rule.confirm_at_least}, refuted {rule.refute_at_least}"
    if isinstance(rule, AllOf):
        return "all must be confirmed, one refuted refutes"
    return "one confirmed confirms, all must be refuted"


def _position(rule: Leaf, outcome: Outcome) -> str:
    """Where an estimate lies, in registered numbers only."""
    if isinstance(rule, Monotone):
        return _curve(rule, outcome)
    if isinstance(rule, Band | Equivalence):
        low, high = (rule.low, rule.high) if isinstance(rule, Band) else (-rule.margin, rule.margin)
        where = {"confirmed": "lies inside", "refuted": "lies outside"}.get(outcome, "crosses a border of")
        return f"the interval of {rule.estimand} {where} [{low:g}, {high:g}]"
    beyond, short = ("at or above", "below") if rule.direction == "above" else ("at or below", "above")
    what = f"{'the value' if rule.use == 'point' else 'the whole interval'} of {rule.estimand}"
    return {
        "confirmed": f"{what} lies {beyond} {rule.confirm_at:g}",
        "refuted": f"{what} lies {short} {rule.refute_at:g}",
    }.get(outcome, f"{what} lies neither {beyond} {rule.confirm_at:g} nor {short} {rule.refute_at:g}")


def _curve(rule: Monotone, outcome: Outcome) -> str:
    against, along = ("rises", "falls") if rule.order == "falling" else ("falls", "rises")
    noise = f"by more than {rule.noise:g} pooled half-widths"
    if outcome == "refuted":
        return f"{rule.estimand} {against} between neighbours {noise}"
    whole = f"{'and' if outcome == 'confirmed' else 'nor'} {along} from first to last by more than that"
    return f"{rule.estimand} nowhere {against} {noise}, {whole}"


def in_words(rule: Rule) -> str:
    """What confirms and what refutes, in registered numbers; leaves that ask the same are named once."""
    if not isinstance(rule, Count | AllOf | AnyOf):
        return _asks(rule)
    asked = dict.fromkeys(_asks(leaf) for leaf in leaves(rule))
    return f"{rule.kind} of {len(rule.of)} ({_needs(rule)}), each part: {'; or '.join(asked)}"


def _asks(rule: Leaf) -> str:
    if isinstance(rule, Monotone):
        noise = f"more than {rule.noise:g} pooled half-widths"
        return f"{rule.order} from first to last by {noise}, refuted by one jump against that by {noise}"
    if isinstance(rule, Band | Equivalence):
        low, high = (rule.low, rule.high) if isinstance(rule, Band) else (-rule.margin, rule.margin)
        return f"interval inside [{low:g}, {high:g}], refuted when outside"
    beyond, short = ("at or above", "below") if rule.direction == "above" else ("at or below", "above")
    what = "value" if rule.use == "point" else "whole interval"
    return f"{what} {beyond} {rule.confirm_at:g}, refuted {short} {rule.refute_at:g}"


def explain(rule: Rule, estimates: Mapping[str, Estimate], number: Callable[[float], str] = "{:.6g}".format) -> str:
    """Say in words and numbers which clause fired, and which fired below it; one line a rule.

    Args:
        rule, estimates: as for `judge`.
        number: how to write an estimate; the registered numbers stand as they are.
    """
    return "\n".join(_explained(judge(rule, estimates), estimates, number, ""))


def _explained(
    verdict: Verdict, estimates: Mapping[str, Estimate], number: Callable[[float], str], indent: str
) -> Iterator[str]:
    read = "" if verdict.estimand is None else f"; {verdict.estimand} = {_shown(estimates[verdict.estimand], number)}"
    yield f"{indent}{verdict.outcome}, {verdict.clause}{read}"
    for part in verdict.parts:
        yield from _explained(part, estimates, number, indent + "  ")


def _shown(estimate: Estimate, number: Callable[[float], str]) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "undefined"
    if estimate.overall is not None:
        steps = [*estimate.steps, estimate.overall]
        changes = [f"{number(step.value)} (pooled half-width {number(step.half_width)})" for step in steps]
        return f"{', '.join(changes[:-1])}; from first to last {changes[-1]}"
    ends = "" if estimate.low == estimate.high else f" [{number(estimate.low)}, {number(estimate.high)}]"
    return f"{number(estimate.value)}{ends}, n = {estimate.n}"


def closed_gates(gates: Mapping[str, str]) -> dict[str, str]:
    """Calibration hypotheses, of these with their verdicts, that keep all others from being evaluated.

    A withdrawn one is no gate; but where all are withdrawn, nothing passes: no gate holds.
    """
    closed = {name: said for name, said in gates.items() if said not in ("confirmed", "withdrawn")}
    return closed if closed or "confirmed" in gates.values() else dict(gates)


def worst(outcomes: Sequence[str]) -> int:
    """Exit code of `verdict --strict`: 11 before 10 before 20 before 0."""
    for outcome, code in (("not-evaluable", 11), ("refuted", 10), ("ambiguous", 20)):
        if outcome in outcomes:
            return code
    return 0
