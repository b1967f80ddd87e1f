"""Defects of a draft that need no simulation: repeated sub-rules, low levels, and intervals that cannot hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator

import numpy as np

from vjepa_stress.prereg.document import Hypothesis, Preregistration
from vjepa_stress.rules import Combination, Rule
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.verdict.check.finding import Finding
from vjepa_stress.verdict.check.reach import value_range
from vjepa_stress.verdict.judge import decide

_LEVEL = 0.9
"""Lowest confidence level."""

_MOST = 0.99
"""A rule that confirms a larger share of the range of its estimand can hardly fail."""


def structure(document: Preregistration) -> Iterator[Finding]:
    """Errors in the structure of a document."""
    level = document.analysis.confidence_level
    if level < _LEVEL:
        yield Finding("error", "low-level", "analysis", {"level": level, "least": _LEVEL})
    for hypothesis in document.hypotheses:
        if (judged := hypothesis.judged) is not None:
            yield from _repeated(document, judged)
            yield from _estimands(judged)
            yield from _hardly_fails(document, judged)


def _repeated(document: Preregistration, hypothesis: Hypothesis) -> Iterator[Finding]:
    """Combinations with two equal parts. Parts are equal if they have equal numbers and read the same number."""
    meanings = {name: one.meaning(document.design) for name, one in hypothesis.estimands.items()}

    def key(rule: Rule) -> Hashable:
        if isinstance(rule, Combination):
            return rule.kind, repr(rule.numbers()), tuple(sorted(map(hash, map(key, rule.of))))
        (leaf,) = rule.leaves()
        fields = leaf.model_dump(exclude={"estimand", "rationale"})
        return meanings[leaf.estimand], repr(sorted(fields.items()))

    def combinations(rule: Rule) -> Iterator[Combination]:
        if isinstance(rule, Combination):
            yield rule
            for part in rule.of:
                yield from combinations(part)

    for combination in combinations(hypothesis.rule):
        most = max(Counter(map(key, combination.of)).values())
        if most > 1:
            yield Finding("error", "duplicate-part", hypothesis.id, {"kind": combination.kind, "times": most})


def _hardly_fails(document: Preregistration, hypothesis: Hypothesis) -> Iterator[Finding]:
    """Rules on a number that confirm nearly all of its range."""
    for leaf in hypothesis.rule.leaves():
        low, high = value_range(hypothesis.estimands[leaf.estimand], document.design)
        if leaf.reads != "number" or not math.isfinite(high - low):
            continue
        values = np.linspace(low, high, 2001).tolist()
        points = (Estimate(value=value, low=value, high=value, n=2, method="none") for value in values)
        share = sum(decide(leaf, point) == "confirmed" for point in points) / len(values)
        if share > _MOST:
            where, found = f"{hypothesis.id}.{leaf.estimand}", {"p": share, "low": low, "high": high}
            yield Finding("error", "hardly-fails", where, found)


def _estimands(hypothesis: Hypothesis) -> Iterator[Finding]:
    for name, estimand in hypothesis.estimands.items():
        where = f"{hypothesis.id}.{name}"
        for one in estimand.filters():
            selected = {condition.column for condition in one.rows or ()} & set(estimand.columns())
            for column in sorted(selected):
                yield Finding("error", "selected-on-outcome", where, {"column": column})
