"""Outcomes that a rule can reach.

Each rule is applied to estimates at, between and beyond its borders. Its outcome depends only on its borders, so
these estimates represent all possible estimates.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from vjepa_stress.design import Design, Where
from vjepa_stress.prereg.document import Hypothesis
from vjepa_stress.rules import Combination, LeafRule, Rule
from vjepa_stress.statistics import Statistic
from vjepa_stress.statistics.base import Span
from vjepa_stress.verdict.judge import decide

Vector = tuple[str, ...]
"""The outcomes of all leaves that read one estimand, for one estimate."""


@dataclass(frozen=True)
class RuleDefect:
    """A reason why a rule cannot decide.

    Attributes:
        code: code of the message.
        where: hypothesis or estimand.
        values: values in the message.
    """

    code: str
    where: str
    values: Mapping[str, str | float | int] = field(default_factory=dict)


def check_rule(hypothesis: Hypothesis, design: Design) -> Iterator[RuleDefect]:
    """Defects of a rule: constant estimands, borders out of range, overlap, unreachable outcomes."""
    constant = [
        RuleDefect(code, f"{hypothesis.id}.{name}", values)
        for name, estimand in hypothesis.estimands.items()
        for code, values in _constant(estimand, design)
    ]
    yield from constant
    if constant:
        return
    ranges = {name: value_range(estimand, design) for name, estimand in hypothesis.estimands.items()}
    for leaf in hypothesis.rule.leaves():
        low, high = ranges[leaf.estimand]
        for border in leaf.stated():
            if not low <= border <= high:
                values: dict[str, str | float] = {"kind": leaf.kind, "border": border, "low": low, "high": high}
                yield RuleDefect("out-of-range", f"{hypothesis.id}.{leaf.estimand}", values)
    best: dict[str, list[Vector]] = {}
    worst: dict[str, list[Vector]] = {}
    # Two names of the same number are treated as one, because the outcomes of their readers are not independent.
    first: dict[Hashable, str] = {}
    known = {name: first.setdefault(one.meaning(design), name) for name, one in hypothesis.estimands.items()}
    for name in first.values():
        estimand = hypothesis.estimands[name]
        readers = [leaf for leaf in hypothesis.rule.leaves() if known[leaf.estimand] == name]
        if overlaps(estimand, readers, ranges[name]):
            yield RuleDefect("overlapping", f"{hypothesis.id}.{name}")
        best[name], worst[name] = _extremes(outcomes(estimand, readers, ranges[name]))
    reachable = {
        _outcome(hypothesis.rule, known, dict(zip(vectors, chosen, strict=True)))
        for vectors in (best, worst)
        for chosen in product(*vectors.values())
    }
    if len(reachable) == 1:
        yield RuleDefect("vacuous", hypothesis.id, {"outcome": reachable.pop()})
        return
    for outcome in sorted({"confirmed", "refuted"} - reachable):
        yield RuleDefect("unreachable", hypothesis.id, {"outcome": outcome})


def outcomes(estimand: Statistic, readers: list[LeafRule], within: Span) -> set[Vector]:
    """All combinations of outcomes of the leaves that read one estimand."""
    borders = [border for leaf in readers for border in leaf.borders()]
    return {tuple(decide(leaf, one) for leaf in readers) for one in estimand.possible(borders, within)}


def overlaps(estimand: Statistic, readers: list[LeafRule], within: Span) -> bool:
    """Whether a leaf both confirms and refutes some estimate."""
    borders = [border for leaf in readers for border in leaf.borders()]
    decisions = (
        leaf.decide(one.value, one.low, one.high, one)
        for one in estimand.possible(borders, within)
        if one.value is not None and one.low is not None and one.high is not None
        for leaf in readers
    )
    return any(decision.confirmed and decision.refuted for decision in decisions)


def _constant(estimand: Statistic, design: Design) -> Iterator[tuple[str, Mapping[str, str | float | int]]]:
    """Reasons why an estimand is constant or undefined for all possible data."""
    conditions = {(one.column, where) for where in estimand.filters() for one in where.rows or ()}
    for column in sorted(column for column, where in conditions if _is_empty(column, where, design)):
        low, high = design.columns[column].range
        yield "no-row", {"column": column, "low": low, "high": high}
    for defect in estimand.defects(design):
        yield defect.code, {**defect.values, "statistic": estimand.statistic}


def value_range(estimand: Statistic, design: Design) -> Span:
    """Smallest and largest possible value of an estimand, from the ranges of its columns and its conditions."""
    column = estimand.columns()[0]
    return estimand.value_range([_span(column, where, design) for where in estimand.filters()])


def _span(column: str, where: Where, design: Design) -> Span:
    """Smallest and largest value that passes a filter. The first is larger than the second if no value passes."""
    low, high = design.columns[column].range
    for condition in where.rows or ():
        if condition.column == column:
            equal = [float(condition.equals)] if isinstance(condition.equals, int | float) else []
            low = max([low, *equal, *([] if condition.at_least is None else [condition.at_least])])
            high = min([high, *equal, *([] if condition.at_most is None else [condition.at_most])])
    return low, high


def _is_empty(column: str, where: Where, design: Design) -> bool:
    low, high = _span(column, where, design) if column in design.columns else (0.0, 0.0)
    return low > high


_RANK = {"refuted": 0, "ambiguous": 1, "confirmed": 2}


def _extremes(vectors: set[Vector]) -> tuple[list[Vector], list[Vector]]:
    """The maximal and the minimal vectors.

    All combinations of rules are monotone in the outcomes of their parts, so the extreme vectors reach all outcomes
    that can be reached.
    """

    def at_least(one: Vector, other: Vector) -> bool:
        return all(_RANK[a] >= _RANK[b] for a, b in zip(one, other, strict=True))

    best = [one for one in vectors if not any(other != one and at_least(other, one) for other in vectors)]
    worst = [one for one in vectors if not any(other != one and at_least(one, other) for other in vectors)]
    return sorted(best), sorted(worst)


def _outcome(rule: Rule, known: Mapping[str, str], vectors: Mapping[str, Vector]) -> str:
    remaining = {name: iter(vector) for name, vector in vectors.items()}

    def outcome(part: Rule) -> str:
        if isinstance(part, Combination):
            return part.combine([outcome(one) for one in part.of]).outcome
        (leaf,) = part.leaves()
        return next(remaining[known[leaf.estimand]])

    return outcome(rule)
