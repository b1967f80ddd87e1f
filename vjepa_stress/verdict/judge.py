"""Rules to verdicts: a pure function of a rule and its estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vjepa_stress.prereg.rules import AllOf, AnyOf, Band, Count, Rule, Threshold, leaves
from vjepa_stress.verdict.estimate import Estimate

Outcome = Literal["confirmed", "ambiguous", "refuted", "not-evaluable"]


class Verdict(BaseModel):
    """What a rule says of its estimates.

    Attributes:
        outcome: exactly one of four; not-evaluable when an estimate is undefined.
        clause: the clause that fired. It holds registered numbers only: a recomputed clause must agree exactly,
            while an estimate may differ in its last digit on another machine.
        estimand: what the clause read, for rules that read one.
        parts: verdicts of the sub-rules, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome
    clause: str
    estimand: str | None = None
    parts: tuple[Verdict, ...] = ()


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
    if isinstance(rule, Band):
        return _band(rule, *_interval(estimates[rule.estimand]))
    if isinstance(rule, Threshold):
        return _threshold(rule, estimates[rule.estimand])
    parts = tuple(_judge(part, estimates) for part in rule.of)
    confirmed, refuted = (sum(part.outcome == outcome for part in parts) for outcome in ("confirmed", "refuted"))
    said = f"{confirmed} confirmed and {refuted} refuted of {len(parts)}"
    if isinstance(rule, Count):
        said += f" (confirmed needs {rule.confirm_at_least}, refuted {rule.refute_at_least})"
        outcome = _first(confirmed >= rule.confirm_at_least, refuted >= rule.refute_at_least)
    elif isinstance(rule, AllOf):
        said += " (all must be confirmed, one refuted refutes)"
        outcome = _first(confirmed == len(parts), refuted > 0)
    elif isinstance(rule, AnyOf):
        said += " (one confirmed confirms, all must be refuted)"
        outcome = _first(confirmed > 0, refuted == len(parts))
    return Verdict(outcome=outcome, clause=f"{rule.kind}: {said}", parts=parts)


def _first(confirmed: bool, refuted: bool) -> Outcome:
    return "confirmed" if confirmed else "refuted" if refuted else "ambiguous"


def _interval(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None  # noqa: S101  # checked by `judge`
    assert estimate.high is not None  # noqa: S101
    return estimate.low, estimate.high


def _band(rule: Band, low: float, high: float) -> Verdict:
    inside = rule.low <= low and high <= rule.high
    outside = high < rule.low or low > rule.high
    position = "lies inside" if inside else "lies outside" if outside else "crosses a border of"
    clause = f"band: the interval of {rule.estimand} {position} [{rule.low:g}, {rule.high:g}]"
    return Verdict(outcome=_first(inside, outside), clause=clause, estimand=rule.estimand)


def _threshold(rule: Threshold, estimate: Estimate) -> Verdict:
    low, high = _interval(estimate)
    if rule.use == "point":
        assert estimate.value is not None  # noqa: S101  # checked by `judge`
        low = high = estimate.value
    if rule.direction == "above":
        outcome = _first(low >= rule.confirm_at, high < rule.refute_at)
        beyond, short = "at or above", "below"
    else:
        outcome = _first(high <= rule.confirm_at, low > rule.refute_at)
        beyond, short = "at or below", "above"
    what = "the value" if rule.use == "point" else "the whole interval"
    position = {
        "confirmed": f"{what} of {rule.estimand} lies {beyond} {rule.confirm_at:g}",
        "refuted": f"{what} of {rule.estimand} lies {short} {rule.refute_at:g}",
    }.get(
        outcome,
        f"{what} of {rule.estimand} lies neither {beyond} {rule.confirm_at:g} nor {short} {rule.refute_at:g}",
    )
    return Verdict(outcome=outcome, clause=f"threshold: {position}", estimand=rule.estimand)


def worst(outcomes: Sequence[str]) -> int:
    """Exit code of `verdict --strict`: 11 before 10 before 20 before 0."""
    for outcome, code in (("not-evaluable", 11), ("refuted", 10), ("ambiguous", 20)):
        if outcome in outcomes:
            return code
    return 0
