"""Parts of the report for video designs: dose–response curves, probes, the partition finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vjepa_stress.design.video import MetricEntry, VideoCell, VideoDesign
from vjepa_stress.report import numbers, words
from vjepa_stress.report.figures import Curve, dose_response
from vjepa_stress.report.scatter import scatter
from vjepa_stress.statistics.mean import bootstrap_mean
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.verdict.exclusions import LARGEST_DIFFERENCE, Exclusion, exclusions
from vjepa_stress.verdict.gate import Evidence
from vjepa_stress.verdict.multiplicity import resampling
from vjepa_stress.verdict.partition import DRIFT, LOSS, Correlation, Partition, Separation, partition
from vjepa_stress.verdict.seed_spread import SeedSpread, seed_spreads


@dataclass(frozen=True)
class Probe:
    """A calibration measurement and its reference."""

    dataset: str
    model: str
    perturbation: str
    metric: str
    measured: str
    expected: str


@dataclass(frozen=True)
class VideoPart:
    """The part of a report for a video design.

    Attributes:
        curves: dose–response figures, SVG text by file name.
        clouds: scatter figures of the partition finding, SVG text by file name.
        probes: calibration measurements.
        partition: the finding; None if the design lacks its columns.
        exclusions: cells in which the models lose different shares of positions.
        seeds: spread between the seeds of each perturbation that has several.
    """

    curves: dict[str, str]
    clouds: dict[str, str]
    probes: tuple[Probe, ...]
    partition: Partition | None
    exclusions: tuple[Exclusion, ...]
    seeds: tuple[SeedSpread, ...]


def video_part(evidence: Evidence, design: VideoDesign, stamp: str) -> VideoPart:
    """Compute the part of the report for a video design, and draw its figures.

    Args:
        evidence: the verified evidence.
        design: the design of the study.
        stamp: text across the figures; empty for none.
    """
    document = evidence.registration.document
    level = numbers.percent(document.analysis.confidence_level)
    curves = {
        f"report-{name}.svg": dose_response(name, found, level, stamp)
        for name, metric in design.metrics.items()
        if (found := _curves(evidence, design, metric))
    }
    finding = partition(evidence.table, design, resampling(document))
    clouds = {f"report-{DRIFT}-{LOSS}.svg": scatter(finding, stamp)} if finding and finding.clouds else {}
    unequal = tuple(one for one in exclusions(evidence.table, design) if one.differs)
    seeds = seed_spreads(evidence.table, design)
    return VideoPart(curves, clouds, tuple(_probes(evidence, design)), finding, unequal, seeds)


def _curves(evidence: Evidence, design: VideoDesign, metric: MetricEntry) -> list[Curve]:
    """Curves of the main column of a metric, then of its aligned twin."""
    columns = [metric.main, *(twin for raw, twin in metric.aligned.items() if raw == metric.main)]
    return [curve for column in columns for curve in _curves_of(evidence, design, column)]


def _curves_of(evidence: Evidence, design: VideoDesign, column: str) -> list[Curve]:
    """Curves of one column. For an aligned twin, only the perturbations that move content, where it differs."""
    how, aligned = resampling(evidence.registration.document), design.columns[column].is_aligned(column)
    curves = []
    keys = dict.fromkeys(
        (cell.dataset, cell.perturbation, cell.model)
        for cell in design.cells
        if cell.strength and not (aligned and design.is_in_place(cell))
    )
    for dataset, perturbation, model in sorted(keys, key=lambda key: _panel_order(design, key)):
        by_strength: dict[float, list[VideoCell]] = {}
        for cell in design.cells:
            of_curve = (cell.dataset, cell.perturbation, cell.model) == (dataset, perturbation, model)
            if of_curve and cell in evidence.cells and cell.strength is not None:
                by_strength.setdefault(cell.strength, []).append(cell)
        points = []
        for strength, cells in sorted(by_strength.items()):
            estimate = bootstrap_mean(_by_source(evidence, design, column, cells), how)
            if estimate.value is not None and estimate.low is not None and estimate.high is not None:
                points.append((strength, estimate.value, estimate.low, estimate.high))
        if len(points) > 1:
            strengths, means, lows, highs = zip(*points, strict=True)
            curves.append(Curve(dataset, perturbation, model, aligned, strengths, means, lows, highs))
    return curves


def _by_source(evidence: Evidence, design: VideoDesign, column: str, cells: Sequence[VideoCell]) -> Floats:
    """Values of a column in some cells, (sources, clips and cells), for the sources with a value."""
    table = evidence.table
    values = table.take(column, cells)[0]
    kept = np.logical_or.reduce(np.isfinite(values), axis=1)
    return table.rows(kept, table.columns(cells), design).arrange(values)


def _panel_order(design: VideoDesign, key: tuple[str, str, str]) -> tuple[Any, ...]:
    """Sort key of curves: panels by tier and family, models by size."""
    dataset, perturbation, model = key
    entry = design.perturbations[perturbation]
    return (entry.role, entry.family, perturbation, dataset, design.models[model].size_rank, model)


def _expected(design: VideoDesign, cell: VideoCell, column: str) -> str:
    """The reference for the measurement of a probe, as text."""
    entry, metric = design.perturbations[cell.perturbation], design.columns[column]
    positions = design.models[cell.model].positions
    if metric.compares == "regions" and entry.correspondence != "in-place":
        return "undefined: only the clean clip has masks"
    if metric.compares == "regions" and column == metric.main:
        return "the score of the clean clip"
    if entry.family == "calibration":
        return "0 (the noise floor)"
    if column == "M2" and entry.correspondence == "time-reversed":
        if positions % 2 == 0:
            value = numbers.number(positions / (positions - 1))
            return f"{value} = {positions}/{positions - 1} for features of unrelated frames, reversed"
        return f"{numbers.number((positions - 2) / (positions - 1))} for features of unrelated frames, reversed"
    if metric.is_aligned(column):
        return "0 if features move exactly as pixels move"
    return "about 1 if the compared positions are unrelated"


def _probes(evidence: Evidence, design: VideoDesign) -> list[Probe]:
    how, probes = resampling(evidence.registration.document), []
    for cell in design.cells:
        entry = design.perturbations[cell.perturbation]
        if entry.role != "probe" or cell not in evidence.cells:
            continue
        for column in design.columns:
            values = _by_source(evidence, design, column, [cell])
            if entry.family == "calibration":
                largest = numbers.number(float(np.nanmax(np.abs(values)))) if len(values) else None
                measured = "undefined" if largest is None else f"largest {largest}"
            else:
                mean = bootstrap_mean(values, how)
                measured = f"mean {numbers.number(mean.value)} {numbers.interval(mean.low, mean.high)}"
            expected = _expected(design, cell, column)
            probes.append(Probe(cell.dataset, cell.model, cell.perturbation, column, measured, expected))
    return probes


def pooled(one: Correlation) -> str:
    """The pooled cells of a correlation in the partition finding, as text."""
    return {"perturbation": one.name, "family": f"{one.name}, pooled", "all": "all, pooled"}[one.kind]


def overlap(one: Separation) -> str:
    """Whether the Fisher intervals of two families overlap, as text."""
    return _one_of(one.overlap, "overlap", "apart")


def separable(one: Separation) -> str:
    """Whether two families are separable, as text."""
    return _one_of(one.separable, "yes", "no")


SEPARATION_REFUSED = {
    "unequal-exclusions": "not compared: the shares of positions that M2 leaves out because a gradient is zero "
    f"differ by more than {LARGEST_DIFFERENCE:.0%} between these cells",
}
"""Why two families are not compared, by code."""

EXCLUSIONS_DIFFER = (
    "Warning: in these cells, the shares of positions that are left out because a vector is zero differ by more than "
    f"{LARGEST_DIFFERENCE:.0%} between models. Their means are over different positions: do not compare these models."
)


SEEDS_COMPARED = (
    "Standard deviations between the seeds of a perturbation for one clip, and between clips; and what another seed "
    "would change in the mean of a cell, beside its standard error. Root mean squares over cells. No rule reads them."
)


def separation_notes(one: Separation, unit: str) -> str:
    """Notes on the comparison of two families, as one line of text."""
    refused = [SEPARATION_REFUSED[one.refused]] if one.refused else []
    return "; ".join([*refused, *([words.notes(one.gap, unit)] if one.gap.notes else [])])


def shares(one: Exclusion) -> str:
    """The share of each model, as text."""
    return ", ".join(f"{model} {share:.0%}" for model, share in one.shares.items())


def _one_of(value: bool | None, yes: str, no: str) -> str:
    """Text for a truth value; None is "undefined"."""
    return "undefined" if value is None else yes if value else no
