"""Findings of `check` on a document before any data: codes and values. `report.words` has their texts."""

from __future__ import annotations

from collections.abc import Iterator

from scipy import special

from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration
from vjepa_stress.prereg.scenarios import Plan
from vjepa_stress.rules import LeafRule
from vjepa_stress.statistics import Statistic
from vjepa_stress.verdict.check.finding import SEVERITIES, Finding, warning
from vjepa_stress.verdict.check.reach import check_rule, value_range
from vjepa_stress.verdict.check.simulated import scenarios, simulated
from vjepa_stress.verdict.check.structure import structure
from vjepa_stress.verdict.needed import cells_of

LEAST_ALTERNATIVES = 5
"""A document with fewer alternatives gets a suggestion."""

_SPREAD = 0.02
"""A band gives a warning if it requires a standard deviation between sources below this share of the range."""


def check(document: Preregistration, plan: Plan | None = None) -> tuple[Finding, ...]:
    """All findings, errors first.

    Args:
        document: a document that was already validated (known cells, unique ids, multiplicity, order of borders).
        plan: its scenarios, if they are simulated later.
    """
    judged = [hypothesis.judged for hypothesis in document.hypotheses]
    found = [finding for one in judged if one is not None for finding in _hypothesis(document, one)]
    found += [*structure(document), *scenarios(document, document.operating_characteristics or plan)]
    if document.operating_characteristics is not None:
        found += simulated(document, document.operating_characteristics)
    found += _suggestions(document)
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def _hypothesis(document: Preregistration, hypothesis: Hypothesis) -> Iterator[Finding]:
    design = document.design
    for defect in check_rule(hypothesis, design):
        yield Finding("error", defect.code, defect.where, defect.values)
    for name, estimand in hypothesis.estimands.items():
        cells = cells_of(estimand, design)
        for concern in design.concerns(estimand.columns(), cells):
            yield warning(document, concern.code, hypothesis.id, name, concern.values)
        if estimand.companion(design) is not None:
            yield warning(document, "mixes-cells", hypothesis.id, name, {"cells": len(cells)})
    for leaf in hypothesis.rule.leaves():
        if narrow := _too_few(document, hypothesis.estimands[leaf.estimand], leaf):
            yield warning(document, "too-few-clips", hypothesis.id, leaf.estimand, narrow)
    for name in sorted({leaf.estimand for leaf in hypothesis.rule.leaves() if leaf.reads_interval}):
        estimand = hypothesis.estimands[name]
        for stratum in _strata(document, estimand) if estimand.sampled else ():
            sources = design.count_sources(stratum)
            if sources < estimand.fewest_sources:
                found: dict[str, str | int] = {
                    "stratum": stratum,
                    "sources": sources,
                    "least": estimand.fewest_sources,
                }
                yield Finding("error", "too-few-sources", f"{hypothesis.id}.{name}", found)


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
    return document.design.strata(cells_of(estimand, document.design))


def _suggestions(document: Preregistration) -> Iterator[Finding]:
    if document.design.control_factor is not None and not document.design.controls:
        yield Finding("suggestion", "no-control", "design", {"factor": document.design.control_factor})
    families = [hypothesis.family for hypothesis in document.hypotheses if hypothesis.family != CALIBRATION]
    for family in sorted(set(families)):
        if document.analysis.multiplicity == "none" and families.count(family) > 1:
            yield Finding("suggestion", "multiplicity", f"family {family}", {"n": families.count(family)})
    if families and len(document.sensitivity) < LEAST_ALTERNATIVES:
        found = {"n": len(document.sensitivity), "least": LEAST_ALTERNATIVES}
        yield Finding("suggestion", "few-alternatives", "sensitivity", found)
    if not any(hypothesis.family == CALIBRATION for hypothesis in document.hypotheses):
        yield Finding("suggestion", "no-calibration", "hypotheses")
