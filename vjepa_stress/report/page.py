"""The report: everything a reader needs to believe or doubt a verdict, as Markdown and one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from vjepa_stress.digest import canonical_json
from vjepa_stress.ledger import Completed, LedgerView, Promise, Viewed
from vjepa_stress.prereg.document import VideoDesign
from vjepa_stress.prereg.lineage import find
from vjepa_stress.prereg.rules import Rule, metrics
from vjepa_stress.report import numbers
from vjepa_stress.report.figures import Curve, dose_response
from vjepa_stress.report.scatter import scatter
from vjepa_stress.verdict.estimate import bootstrap_mean
from vjepa_stress.verdict.evaluate import HypothesisVerdict, StudyVerdict
from vjepa_stress.verdict.gate import Evidence
from vjepa_stress.verdict.judge import Verdict, in_words
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.partition import DRIFT, LOSS, Correlation, partition

STAMP = "EXPLORATORY"


@dataclass(frozen=True)
class Probe:
    """A calibration measurement beside what was expected of it."""

    dataset: str
    model: str
    perturbation: str
    metric: str
    measured: str
    expected: str


@dataclass(frozen=True)
class Report:
    """A finished report: files by name."""

    html: str
    markdown: str
    figures: dict[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """Contents by file name, to be written beside each other."""
        texts = {"report.html": self.html, "report.md": self.markdown, **self.figures}
        return {name: text.encode() for name, text in texts.items()}


def build(evidence: Evidence, verdict: StudyVerdict, tier: str, notices: Sequence[str] = ()) -> Report:
    """Write the report of a study.

    Args:
        evidence: what the gate let through.
        verdict: what the rules said of it.
        tier: the evidence tier that was established.
        notices: what the reader of the files must know, such as a mended ledger.
    """
    document = evidence.registration.document
    stamp = STAMP if verdict.exploratory else ""
    level = numbers.percent(document.analysis.confidence_level)
    figures = {
        f"report-{name}.svg": dose_response(name, curves, level, stamp)
        for name, metric in document.design.metrics.items()
        if (curves := [curve for column in metric.columns for curve in _curves(evidence, column, metric.columns[0])])
    }
    finding = partition(evidence.table, document.design, resampling(document))
    clouds = {f"report-{DRIFT}-{LOSS}.svg": scatter(finding, stamp)} if finding and finding.clouds else {}
    context: dict[str, Any] = {
        "document": document,
        "design": document.design,
        "verdict": verdict,
        "digest": evidence.registration.digest,
        "registered": evidence.registration.leaf,
        "former": _former_rules(evidence),
        "checkpoint": evidence.checkpoint.short,
        "tier": tier,
        "stamp": stamp,
        "probes": _probes(evidence),
        "looks": _looks(evidence),
        "studies": _studies(evidence.registration.ledger),
        "notices": notices,
        "level": level,
        "partition": finding,
    }
    html = {"images": _embedded(figures), "clouds": _embedded(clouds)}
    return Report(
        _environment(html=True).get_template("report.html.j2").render(**html, **context),
        _environment(html=False).get_template("report.md.j2").render(images=figures, clouds=clouds, **context),
        figures | clouds,
    )


def _embedded(figures: dict[str, str]) -> dict[str, str]:
    """Figures as addresses that need no file."""
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode() for name, svg in figures.items()
    }


def _environment(html: bool) -> Environment:
    # Markdown has an escape of its own, the filter `cell`: HTML's would show as text in code spans.
    environment = Environment(
        loader=PackageLoader("vjepa_stress.report"),
        autoescape=html,  # noqa: S701  # Markdown has an escape of its own, the filter `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": numbers.number, "cell": _markdown_cell}
    environment.globals |= {
        "chance": numbers.chance,
        "interval": numbers.interval,
        "metrics": metrics,
        "overlap": lambda one: _one_of(one.overlap, "overlap", "apart"),
        "pooled": _pooled,
        "in_words": in_words,
        "read": _read,
        "separable": lambda one: _one_of(one.separable, "yes", "no"),
    }
    return environment


def _read(verdict: HypothesisVerdict, part: Verdict | Rule) -> str:
    """The number that a clause or rule reads, with its interval; nothing for those that combine others."""
    name = getattr(part, "estimand", None)
    if name is None or verdict.verdict == "withdrawn":
        return ""
    record = verdict.estimates[name]
    ends = (
        ""
        if record.estimand.interval == "none"
        else " " + numbers.interval(record.estimate.low, record.estimate.high)
    )
    return f" ({numbers.number(record.estimate.value)}{ends})"


def _pooled(one: Correlation) -> str:
    """Which cells a correlation is over."""
    return {"perturbation": one.name, "family": f"{one.name}, pooled", "all": "all, pooled"}[one.kind]


def _one_of(answer: bool | None, yes: str, no: str) -> str:
    """An answer in words; what is not known is neither."""
    return "undefined" if answer is None else yes if answer else no


def _markdown_cell(text: object) -> str:
    """Text that cannot break out of a Markdown table, nor become markup."""
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_[]|":
        escaped = escaped.replace(sign, "\\" + sign)
    return " ".join(escaped.split())


def _curves(evidence: Evidence, column: str, raw: str) -> list[Curve]:
    """Curves of one column; of an aligned twin only where it differs, which is where content moved."""
    design, how = evidence.registration.document.design, resampling(evidence.registration.document)
    curves = []
    keys = dict.fromkeys(
        (cell.dataset, cell.perturbation, cell.model)
        for cell in design.cells
        if cell.strength and (column == raw or design.perturbations[cell.perturbation].correspondence != "in-place")
    )
    for dataset, perturbation, model in sorted(keys, key=lambda key: _place(design, key)):
        points = []
        for cell in design.cells:
            if (cell.dataset, cell.perturbation, cell.model) != (dataset, perturbation, model):
                continue
            if cell not in evidence.cells or cell.strength is None:
                continue
            values = evidence.table.take(column, [cell])[0][:, 0]
            estimate = bootstrap_mean(values[np.isfinite(values)], how)
            if estimate.value is not None and estimate.low is not None and estimate.high is not None:
                points.append((cell.strength, estimate.value, estimate.low, estimate.high))
        if len(points) > 1:
            strengths, means, lows, highs = zip(*points, strict=True)
            curves.append(Curve(dataset, perturbation, model, column != raw, strengths, means, lows, highs))
    return curves


def _place(design: VideoDesign, key: tuple[str, str, str]) -> tuple[Any, ...]:
    """Panels by tier and family, models by size."""
    dataset, perturbation, model = key
    entry = design.perturbations[perturbation]
    return (entry.role, entry.family, perturbation, dataset, design.models[model].size_rank, model)


def _expected(design: VideoDesign, perturbation: str, column: str) -> str:
    """What is known beforehand of a probe's reading."""
    entry, aligned = design.perturbations[perturbation], column.endswith("a")
    positions = design.frames // 2
    metric = design.columns[column]
    if metric.compares == "regions" and entry.correspondence != "in-place":
        return "undefined: the masks are those of the clean clip"
    if metric.compares == "regions" and column == metric.columns[0]:
        return "the score of the clean clip"
    if entry.family == "calibration":
        return "0 (the noise floor)"
    if column == "M2" and entry.correspondence == "time-reversed":
        if positions % 2 == 0:
            value = numbers.number(positions / (positions - 1))
            return f"{value} = {positions}/{positions - 1} if the encoder returned unrelated frames, reversed"
        return f"{numbers.number((positions - 2) / (positions - 1))} if it returned unrelated frames, reversed"
    if aligned:
        return "0 if the encoder moved its features exactly as the pixels moved"
    return "about 1 if the positions compared are unrelated"


def _probes(evidence: Evidence) -> list[Probe]:
    design, how, found = evidence.registration.document.design, resampling(evidence.registration.document), []
    for cell in design.cells:
        if design.perturbations[cell.perturbation].role != "probe" or cell not in evidence.cells:
            continue
        for column in design.columns:
            values = evidence.table.take(column, [cell])[0][:, 0]
            values = values[np.isfinite(values)]
            if design.perturbations[cell.perturbation].family == "calibration":
                measured = f"largest {numbers.number(float(np.abs(values).max()))}" if len(values) else "undefined"
            else:
                mean = bootstrap_mean(values, how)
                measured = f"mean {numbers.number(mean.value)} {numbers.interval(mean.low, mean.high)}"
            expected = _expected(design, cell.perturbation, column)
            found.append(Probe(cell.dataset, cell.model, cell.perturbation, column, measured, expected))
    return found


def _looks(evidence: Evidence) -> dict[str, int]:
    """How often results were looked at, and how often before the attempt was complete."""
    view, study = evidence.registration.ledger, evidence.registration.document.study
    seen = [leaf.seq for leaf in view.of(study, Viewed)]
    done = [leaf.seq for leaf in view.of(study, Completed)]
    return {"all": len(seen), "early": sum(1 for seq in seen if not done or seq < done[0])}


def _former_rules(evidence: Evidence) -> dict[str, dict[str, str]]:
    """Rules that an amendment changed, by hypothesis and the last version that had them, oldest first."""
    found: dict[str, dict[str, str]] = {}
    for before, after in pairwise(evidence.registration.lineage):
        for old in before.document.hypotheses:
            new = find(after.document, old.id)
            if new is not None and new.rule != old.rule:
                rule = canonical_json(old.rule.model_dump(mode="json")).decode()
                found.setdefault(old.id, {})[before.document.version] = rule
    return found


def _studies(view: LedgerView) -> list[dict[str, Any]]:
    """Every document of every study of the ledger, so that none can be left out."""
    return [
        {
            "study": leaf.study,
            "version": leaf.version,
            "event": leaf.event,
            "at": leaf.at,
            "hypotheses": list(leaf.hypotheses),
            "digest": leaf.document,
        }
        for leaf in view.leaves
        if isinstance(leaf, Promise)
    ]
