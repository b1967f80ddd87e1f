"""Findings of `check` on a document before any data: codes and values. `report.words` has their texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from scipy import special

from vjepa_stress.prereg.document import CALIBRATION, Acknowledged, Hypothesis, Preregistration
from vjepa_stress.rules import LeafRule
from vjepa_stress.statistics import Statistic
from vjepa_stress.verdict.check.reach import check_rule, value_range

Severity = Literal["error", "warning", "acknowledged", "suggestion"]
_ORDER: tuple[Severity, ...] = get_args(Severity)

LEAST_SOURCES = 30
"""Intervals hold their level from this number of sources on (coverage study, docs/statistics.md).

Data from fewer sources are a case study: estimates are shown, and no rule reads their intervals."""

_SPREAD = 0.02
"""A band gives a warning if it requires a standard deviation between sources below this share of the range."""


@dataclass(frozen=True)
class Finding:
    """A finding of `check`.

    Attributes:
        severity: errors, and warnings that are not acknowledged, block the registration of a draft.
        code: kind of finding.
        where: hypothesis or estimand.
        values: values in the message.
    """

    severity: Severity
    code: str
    where: str
    values: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        """Whether it blocks the registration."""
        return self.severity in {"error", "warning"}


def check(document: Preregistration, *, planned: bool = False) -> tuple[Finding, ...]:
    """All findings, errors first.

    Args:
        document: a document that was already validated (known cells, unique ids, multiplicity, order of borders).
        planned: whether its scenarios are simulated later.
    """
    judged = [hypothesis.judged for hypothesis in document.hypotheses]
    found = [finding for one in judged if one is not None for finding in _hypothesis(document, one)]
    found += [*_powerless(document), *_suggestions(document, planned)]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def _hypothesis(document: Preregistration, hypothesis: Hypothesis) -> Iterator[Finding]:
    design = document.design
    for defect in check_rule(hypothesis, design):
        yield Finding("error", defect.code, defect.where, defect.values)
    for name, estimand in hypothesis.estimands.items():
        cells = [cell for where in estimand.filters() for cell in design.select(where)]
        for concern in design.concerns(estimand.columns(), cells):
            yield _warning(document, concern.code, hypothesis, name, concern.values)
        if estimand.companion(design) is not None:
            yield _warning(document, "mixes-cells", hypothesis, name, {"cells": len(cells)})
    for leaf in hypothesis.rule.leaves():
        if narrow := _too_few(document, hypothesis.estimands[leaf.estimand], leaf):
            yield _warning(document, "too-few-clips", hypothesis, leaf.estimand, narrow)
    for name in sorted({leaf.estimand for leaf in hypothesis.rule.leaves() if leaf.reads_interval}):
        estimand = hypothesis.estimands[name]
        for stratum in _strata(document, estimand) if estimand.sampled else ():
            sources = design.count_sources(stratum)
            if sources < LEAST_SOURCES:
                found: dict[str, str | int] = {"stratum": stratum, "sources": sources, "least": LEAST_SOURCES}
                yield Finding("error", "too-few-sources", f"{hypothesis.id}.{name}", found)


def _warning(
    document: Preregistration,
    code: str,
    hypothesis: Hypothesis,
    name: str,
    values: Mapping[str, str | float | int],
) -> Finding:
    where = f"{hypothesis.id}.{name}"
    known: dict[tuple[str, str, str], Acknowledged] = {
        (one.warning, one.hypothesis, one.estimand): one for one in document.acknowledged
    }
    if one := known.get((code, hypothesis.id, name)):
        return Finding("acknowledged", code, where, {**values, "reason": one.reason})
    return Finding("warning", code, where, {**values, "hypothesis": hypothesis.id, "estimand": name})


def _too_few(document: Preregistration, estimand: Statistic, leaf: LeafRule) -> dict[str, float | int]:
    """Values of the finding if the interval of a mean fits its band only if sources hardly differ; else empty."""
    if not (leaf.two_sided and estimand.is_mean):
        return {}
    low, high = leaf.borders()
    bottom, top = value_range(estimand, document.design)
    sources = min(document.design.count_sources(stratum) for stratum in _strata(document, estimand))
    alpha = leaf.interval_alpha(1 - document.analysis.confidence_level)
    z = float(special.ndtri(1 - alpha / 2))
    largest = (min(high, top) - max(low, bottom)) / 2 * sources**0.5 / z
    if largest >= _SPREAD * (top - bottom):
        return {}
    return {"sources": sources, "low": low, "high": high, "largest": largest}


def _strata(document: Preregistration, estimand: Statistic) -> tuple[str, ...]:
    design = document.design
    return design.strata([cell for where in estimand.filters() for cell in design.select(where)])


def _powerless(document: Preregistration) -> Iterator[Finding]:
    """Rules with the same verdict in every simulated study, and rules that are mostly ambiguous in all scenarios."""
    from vjepa_stress.verdict.power import constant_rules

    simulated = document.operating_characteristics
    if simulated is None:
        return
    for name in constant_rules(document, simulated):
        yield Finding("error", "constant", name)
    for hypothesis in document.hypotheses:
        found = [chances[hypothesis.id] for chances in simulated.chances.values() if hypothesis.id in chances]
        best = max((max(one.confirmed.p, one.refuted.p) for one in found), default=1.0)
        if best < 0.5:
            yield Finding("suggestion", "low-power", hypothesis.id, {"best": best})


def _suggestions(document: Preregistration, planned: bool) -> Iterator[Finding]:
    if document.design.control_factor is not None and not document.design.controls:
        yield Finding("suggestion", "no-control", "design", {"factor": document.design.control_factor})
    families = [hypothesis.family for hypothesis in document.hypotheses if hypothesis.family != CALIBRATION]
    for family in sorted(set(families)):
        if document.analysis.multiplicity == "none" and families.count(family) > 1:
            yield Finding("suggestion", "multiplicity", f"family {family}", {"n": families.count(family)})
    if not any(hypothesis.family == CALIBRATION for hypothesis in document.hypotheses):
        yield Finding("suggestion", "no-calibration", "hypotheses")
    if document.operating_characteristics is None and not planned:
        yield Finding("suggestion", "no-scenarios", "operating_characteristics")
