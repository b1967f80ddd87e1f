"""Defects of a draft that need no simulation: repeated sub-rules, low levels, and intervals that cannot hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator

from vjepa_stress.prereg.document import Hypothesis, Preregistration
from vjepa_stress.rules import Combination, Rule
from vjepa_stress.verdict.check.finding import Finding

_LEVEL = 0.9
"""Lowest confidence level."""


def structure(document: Preregistration) -> Iterator[Finding]:
    """Errors in the structure of a document."""
    level = document.analysis.confidence_level
    if level < _LEVEL:
        yield Finding("error", "low-level", "analysis", {"level": level, "least": _LEVEL})
    for hypothesis in document.hypotheses:
        if (judged := hypothesis.judged) is not None:
            yield from _repeated(document, judged)
            yield from _estimands(document, judged)


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


def _estimands(document: Preregistration, hypothesis: Hypothesis) -> Iterator[Finding]:
    design = document.design
    for name, estimand in hypothesis.estimands.items():
        where = f"{hypothesis.id}.{name}"
        for one in estimand.filters():
            selected = {condition.column for condition in one.rows or ()} & set(estimand.columns())
            for column in sorted(selected):
                yield Finding("error", "selected-on-outcome", where, {"column": column})
            cells = Counter(design.stratum(cell) for cell in design.select(one))
            if estimand.interval == "fisher" and max(cells.values()) > 1:
                yield Finding(
                    "error", "pairs-share-units", where, {"cells": max(cells.values()), "unit": design.unit}
                )
