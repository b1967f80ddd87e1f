"""The report of a study: verdicts, estimates, deviations and evidence, as Markdown and as one HTML file."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vjepa_stress.design import VideoDesign
from vjepa_stress.digest import canonical_json
from vjepa_stress.ledger import Completed, DocumentLeaf, Launched, Viewed
from vjepa_stress.prereg.lineage import Change, changes, find
from vjepa_stress.report import numbers, verdicts, words
from vjepa_stress.report.power_figure import power_figure
from vjepa_stress.report.simulated import SEVERITY, severities, size, world
from vjepa_stress.report.video import (
    EXCLUSIONS_DIFFER,
    SEEDS_COMPARED,
    overlap,
    pooled,
    separable,
    separation_notes,
    shares,
    video_part,
)
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.terminal import printable
from vjepa_stress.verdict.evaluate import EstimateRecord, HypothesisVerdict, StudyVerdict
from vjepa_stress.verdict.gate import Deviation, Evidence
from vjepa_stress.verdict.judge import Verdict

STAMP = "EXPLORATORY"


@dataclass(frozen=True)
class Report:
    """A rendered report.

    Attributes:
        html: the page, with embedded figures.
        markdown: the same content as Markdown, with links to the figures.
        figures: SVG text by file name.
    """

    html: str
    markdown: str
    figures: dict[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """Contents by file name. All files are written to the same folder."""
        texts = {"report.html": self.html, "report.md": self.markdown, **self.figures}
        return {name: text.encode() for name, text in texts.items()}


def build(evidence: Evidence, verdict: StudyVerdict, tier: str, notices: Sequence[str] = ()) -> Report:
    """Render the report of a study.

    Args:
        evidence: the verified evidence.
        verdict: the verdict on it.
        tier: the established evidence tier.
        notices: notices for the reader, such as a repair of the ledger.
    """
    document = evidence.registration.document
    design, stamp = document.design, STAMP if verdict.exploratory else ""
    video = video_part(evidence, design, stamp) if isinstance(design, VideoDesign) else None
    curves, clouds = (video.curves, video.clouds) if video else ({}, {})
    simulated = document.operating_characteristics
    power = (
        {"report-power.svg": power_figure(simulated, design.units, stamp)} if simulated and simulated.curves else {}
    )
    amended = {
        edition.document.version: edition.document.amendment
        for edition in evidence.registration.lineage
        if edition.document.amendment is not None
    }
    context: dict[str, Any] = {
        "document": document,
        "design": design,
        "hypotheses": {hypothesis.id: hypothesis for hypothesis in document.hypotheses},
        "verdict": verdict,
        "alternatives": {one.name: one for one in document.sensitivity},
        "digest": evidence.registration.digest,
        "registered": evidence.registration.leaf,
        "amended": amended,
        "reasons": {version: amendment.changes for version, amendment in amended.items()},
        "deviations": [_deviation(evidence, one) for one in verdict.deviations],
        "objections": [words.OBJECTIONS[name] for name in verdict.objections],
        "former": _former_rules(evidence),
        "checkpoint": evidence.checkpoint.short,
        "tier": tier,
        "stamp": stamp,
        "video": video,
        "simulated": simulated,
        "severities": severities(simulated) if simulated else [],
        "severity_text": SEVERITY,
        "looks": _looks(evidence),
        "registrations": [leaf for leaf in evidence.registration.ledger.leaves if isinstance(leaf, DocumentLeaf)],
        "notices": notices,
        "level": numbers.percent(document.analysis.confidence_level),
        "unit": "source",  # which intervals resample
        "strata": [words.stratum(name, design) for name in design.strata(design.cells)],
        "beside": functools.partial(_beside, "source"),
        "read": functools.partial(_read, "source"),
    }
    html = {"images": _embedded(curves), "clouds": _embedded(clouds), "power": _embedded(power)}
    return Report(
        _environment(html=True).get_template("report.html.j2").render(**html, **context),
        _environment(html=False)
        .get_template("report.md.j2")
        .render(images=curves, clouds=clouds, power=power, **context),
        curves | clouds | power,
    )


def _embedded(figures: dict[str, str]) -> dict[str, str]:
    """Figures as data URLs."""
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode() for name, svg in figures.items()
    }


def _environment(html: bool) -> Environment:
    # Markdown is escaped by the filter `cell`, because HTML entities would show as text in code spans.
    environment = Environment(
        loader=PackageLoader("vjepa_stress.report"),
        autoescape=html,  # noqa: S701  # Markdown is escaped by the filter `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_safe,
    )
    environment.filters |= {"number": numbers.number, "percent": numbers.percent, "cell": _markdown_cell}
    environment.globals |= {
        "EXCLUSIONS_DIFFER": EXCLUSIONS_DIFFER,
        "SEEDS_COMPARED": SEEDS_COMPARED,
        "at_level": numbers.level,
        "write": numbers.number,
        "chance": numbers.chance,
        "ends": _ends,
        "interval": numbers.interval,
        "overlap": overlap,
        "pooled": pooled,
        "separable": separable,
        "size": size,
        "verdicts": verdicts,
        "separation_notes": separation_notes,
        "shares": shares,
        "words": words,
        "world": world,
    }
    return environment


def _safe(value: object) -> object:
    """Escape characters in strings that could reorder the text of the page."""
    return type(value)(printable(value)) if isinstance(value, str) else value  # keeps the type of escaped HTML


def _read(unit: str, verdict: HypothesisVerdict, part: Verdict | None) -> str:
    """The estimate that a clause reads, with the intervals that it reads, and its companion."""
    if part is None or part.estimand is None:
        return ""
    record, ends = verdict.estimates[part.estimand], list[str]()
    if record.estimand.sampled and part.levels:
        for level in dict.fromkeys((part.levels.confirm, part.levels.refute)):
            one = verdict.other_levels.get((part.estimand, level), record.estimate)
            ends.append(f"{_ends(one)} at {numbers.level(level)}")
    elif record.estimand.sampled:
        ends.append(_ends(record.estimate))
    texts = (" ".join([numbers.number(record.estimate.value), ", ".join(ends)]).strip(), _beside(unit, record))
    return f" ({'; '.join(filter(None, texts))})"


def _ends(estimate: Estimate) -> str:
    """The interval of an estimate. For a trend, whose rank correlation has none, that of its change."""
    if estimate.overall is not None and not estimate.steps:
        return f"change {numbers.interval(estimate.overall.low, estimate.overall.high)}"
    return numbers.interval(estimate.low, estimate.high)


def _beside(unit: str, record: EstimateRecord, control: str | None = None) -> str:
    """The companion of an estimate with its interval, such as "within cells 0.110 [-0.080, 0.310]"; empty if none.

    Args:
        unit: name of the unit, such as `clip`.
        record: the estimate.
        control: the control that it is computed on; None for all subjects together.
    """
    if record.companion is None:
        return ""
    one = record.companion.estimate if control is None else record.companion.controls.get(control)
    if one is None:
        return ""
    label = words.beside(record.companion.estimand)
    if not one.defined:
        return f"{label} undefined: {words.notes(one, unit)}"
    return f"{label} {numbers.number(one.value)} {numbers.interval(one.low, one.high)}"


def _markdown_cell(text: object) -> str:
    """Escape text for a cell of a Markdown table."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_[]|":
        escaped = escaped.replace(sign, "\\" + sign)
    return " ".join(escaped.split())


def _looks(evidence: Evidence) -> dict[str, int]:
    """Number of looks, and number of looks before the first completion."""
    view, study = evidence.registration.ledger, evidence.registration.document.study
    looks, done = view.of(study, Viewed), view.of(study, Completed)
    return {"all": len(looks), "early": sum(1 for leaf in looks if not done or leaf.seq < done[0].seq)}


def _changes(evidence: Evidence) -> dict[str, tuple[Change, ...]]:
    """The changes of each amendment or withdrawal, by version."""
    return {
        after.document.version: changes(before.document, after.document)
        for before, after in pairwise(evidence.registration.lineage)
    }


def _deviation(evidence: Evidence, one: Deviation) -> tuple[str, str]:
    """Name and text of a deviation, with the description of its authors."""
    name, text = words.deviation(one, _changes(evidence))
    leaf = evidence.registration.ledger.leaves[one.line - 1] if one.line else None
    if one.code == "changed-code" and isinstance(leaf, Launched):
        text = f"{text}: {leaf.deviation}"
    for edition in evidence.registration.lineage:
        amendment = edition.document.amendment
        if amendment is not None and edition.leaf == leaf:
            text = (
                f"{text}. Data status {edition.document.data_status}; {amendment.reason}: {amendment.changes} "
                f"Severity: {amendment.severity} Validity: {amendment.validity}"
            )
    return name, text


def _former_rules(evidence: Evidence) -> dict[str, dict[str, str]]:
    """Rules that an amendment changed, by hypothesis and by the last version with the old rule, oldest first."""
    found: dict[str, dict[str, str]] = {}
    for before, after in pairwise(evidence.registration.lineage):
        for old in before.document.hypotheses:
            new = find(after.document, old.id)
            if new is not None and new.rule != old.rule:
                rule = canonical_json(old.rule.model_dump(mode="json")).decode()
                found.setdefault(old.id, {})[before.document.version] = rule
    return found
