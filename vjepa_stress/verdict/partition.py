"""Partition: does drift (M2) predict the loss of tracking (dM3) under some families of perturbations and not others?

It is a finding, not a verdict: no rule reads it. Pairs of one source are not independent, so every Fisher interval is
reported with a jackknife over sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Literal

import numpy as np

from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.statistics.numerics.arrays import Floats
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate, undefined
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.pearson import plan_pearson, plan_pearson_difference
from vjepa_stress.statistics.within_cell import plan_within_cell
from vjepa_stress.verdict.exclusions import differ
from vjepa_stress.verdict.gee import gee
from vjepa_stress.verdict.table import Table

DRIFT, LOSS = "M2", "dM3"
"""The paired columns: drift of the features, and loss of tracking."""


@dataclass(frozen=True)
class Correlation:
    """r(M2, dM3) over some cells.

    Attributes:
        kind: whether the cells are of one perturbation, of one family, or of all perturbations.
        name: name of the perturbation or family.
        control: the control that it is computed on; None for all subjects together.
        fisher: r with a Fisher interval, which treats pairs as independent.
        cluster: r with the interval of a jackknife over sources.
        within: r after both columns are centred within cells, with the interval of a jackknife over sources.
        pairs, clips: number of pairs and of clips.
        left_out: number of undefined values in these cells.
        missing: number of cells without a shard.
    """

    kind: Literal["perturbation", "family", "all"]
    name: str
    control: str | None
    fisher: Estimate
    cluster: Estimate
    within: Estimate
    pairs: int
    clips: int
    left_out: int
    missing: int

    @property
    def notes(self) -> tuple[Note, ...]:
        """Reasons why an estimate is undefined, and what was left out."""
        notes = [*self.fisher.notes, *self.cluster.notes, *self.within.notes]
        notes += [Note(code="values-left-out", value=self.left_out)] if self.left_out else []
        notes += [Note(code="cells-missing", value=self.missing)] if self.missing else []
        return tuple(dict.fromkeys(notes))


@dataclass(frozen=True)
class Adjusted:
    """Change of dM3 per unit of M2, net of perturbation and strength; see `gee`.

    Attributes:
        control: see `Correlation`.
        slope: the coefficient of M2 with its robust interval.
    """

    control: str | None
    slope: Estimate


@dataclass(frozen=True)
class Separation:
    """Comparison of two families of perturbations.

    Attributes:
        families: names of both families.
        control: see `Correlation`.
        gap: r of the first minus r of the second, both on the same resampled sources.
        overlap: whether their Fisher intervals overlap, which is the criterion of the published report; None if one
            is undefined.
        refused: why the families are not compared, as a code; None if they are.
    """

    families: tuple[str, str]
    control: str | None
    gap: Estimate
    overlap: bool | None
    refused: Literal["unequal-exclusions"] | None = None

    @property
    def separable(self) -> bool | None:
        """Whether the interval of the difference excludes zero; None if it is undefined, or refused."""
        if self.refused or self.gap.low is None or self.gap.high is None:
            return None
        return self.gap.low > 0 or self.gap.high < 0


@dataclass(frozen=True)
class Cloud:
    """The pairs of one perturbation and model, sorted.

    Attributes:
        perturbation, model: their names.
        control: whether the model is a control.
        pairs: (M2, dM3) of each clip and strength.
    """

    perturbation: str
    model: str
    control: bool
    pairs: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Partition:
    """The finding.

    Attributes:
        datasets: data sets with at least one pair.
        correlations: one per perturbation, one per family, one for all; each for the subjects and for each control.
        adjusted: over all perturbations, for the subjects and for each control.
        separations: one per pair of families; each for the subjects and for each control.
        clouds: one per perturbation and model, ordered by family and by size.
    """

    datasets: tuple[str, ...]
    correlations: tuple[Correlation, ...]
    adjusted: tuple[Adjusted, ...]
    separations: tuple[Separation, ...]
    clouds: tuple[Cloud, ...]


@dataclass(frozen=True)
class _Group:
    """Pooled cells: of one perturbation, one family, or all perturbations, on the subjects or on a control."""

    kind: Literal["perturbation", "family", "all"]
    name: str
    control: str | None
    cells: tuple[VideoCell, ...]


def partition(table: Table, design: VideoDesign, how: Resampling) -> Partition | None:
    """Correlate M2 with dM3 under each tier-1 perturbation that leaves content in place.

    Args:
        table: the shards.
        design: the design.
        how: level, resamples and seed.

    Returns:
        The finding; None for a design without both columns, or without such a perturbation.
    """
    if not {DRIFT, LOSS} <= design.columns.keys():
        return None
    selected = [
        cell
        for cell in design.cells
        if (entry := design.perturbations[cell.perturbation]).role == "tier1" and entry.correspondence == "in-place"
    ]
    # Data sets without masks have no dM3 and are left out.
    datasets = {cell.dataset for cell in selected if _stored(table, [cell]) and _pairs(table, [cell])[2]}
    selected = [cell for cell in selected if cell.dataset in datasets or not datasets]
    if not selected:
        return None
    groups = list(_groups(selected, design))
    planned = [one for group in groups for one in _correlate(table, group, design, how)]
    families = {(group.name, group.control): group for group in groups if group.kind == "family"}
    controls = dict.fromkeys(group.control for group in groups)
    names = sorted({name for name, _ in families})
    pairs = [
        (families[one, control], families[other, control])
        for one, other in combinations(names, 2)
        for control in controls
        if (one, control) in families and (other, control) in families
    ]
    for one, other in pairs:
        sides, strata = _by_source(table, design, one.cells, other.cells)
        planned.append(plan_pearson_difference(*sides).within(strata))
    estimates = iter(evaluate(planned, how))
    correlations = tuple(_correlation(table, group, *islice(estimates, 3)) for group in groups)
    fisher = {(one.name, one.control): one.fisher for one in correlations if one.kind == "family"}
    separations = tuple(
        Separation(
            (one.name, other.name),
            one.control,
            next(estimates),
            _overlap(fisher[one.name, one.control], fisher[other.name, one.control]),
            # M2 over different shares of positions is not the same metric in both families, or in all models.
            "unequal-exclusions" if differ(table, DRIFT, _stored(table, [*one.cells, *other.cells])) else None,
        )
        for one, other in pairs
    )
    adjusted = tuple(_adjusted(table, group, design, how.level) for group in groups if group.kind == "all")
    clouds = tuple(_clouds(table, selected, design))
    return Partition(tuple(sorted(datasets)), correlations, adjusted, separations, clouds)


def _groups(cells: Sequence[VideoCell], design: VideoDesign) -> Iterator[_Group]:
    """Groups of pooled cells, in the order of the report. Families are included only if there are several."""
    family = {name: entry.family for name, entry in design.perturbations.items()}
    controls = [name for name, entry in design.models_by_size.items() if entry.role == "control"]
    subjects = [name for name, entry in design.models.items() if entry.role == "subject"]
    perturbations = sorted({cell.perturbation for cell in cells}, key=lambda name: (family[name], name))
    families = sorted({family[name] for name in perturbations})
    chosen: list[tuple[Literal["perturbation", "family", "all"], str, list[str]]] = [
        *(("perturbation", name, [name]) for name in perturbations),
        *(
            ("family", one, [name for name in perturbations if family[name] == one])
            for one in families
            if len(families) > 1
        ),
        ("all", "", perturbations),
    ]
    for kind, name, members in chosen:
        for control in (None, *controls):
            models = subjects if control is None else [control]
            pooled = tuple(cell for cell in cells if cell.perturbation in members and cell.model in models)
            if pooled:
                yield _Group(kind, name, control, pooled)


def _stored(table: Table, cells: Sequence[VideoCell]) -> list[VideoCell]:
    """Cells that have a shard. Only an exploratory result can lack some."""
    known = set(table.cells)
    return [cell for cell in cells if cell in known]


def _pairs(table: Table, cells: Sequence[VideoCell]) -> tuple[Floats, Floats, int]:
    """Drift and loss where both are defined, (clips, cells), NaN elsewhere; and the number of pairs."""
    stored = _stored(table, cells)
    drift, loss = table.take(DRIFT, stored)[0], table.take(LOSS, stored)[0]
    both = np.isfinite(drift) & np.isfinite(loss)
    return np.where(both, drift, np.nan), np.where(both, loss, np.nan), int(both.sum())


def _by_source(
    table: Table, design: VideoDesign, *groups: Sequence[VideoCell]
) -> tuple[list[tuple[Floats, Floats]], tuple[int, ...]]:
    """Drift and loss of each group of cells, (sources, clips and cells), for the sources with a pair in any group.

    Also the number of sources of each data set.
    """
    pairs = [_pairs(table, cells)[:2] for cells in groups]
    kept = np.logical_or.reduce([np.isfinite(drift).any(axis=1) for drift, _ in pairs])
    columns = table.columns([cell for cells in groups for cell in _stored(table, cells)])
    rows = table.rows(kept, columns, design)
    return [(rows.arrange(drift), rows.arrange(loss)) for drift, loss in pairs], rows.strata


def _correlate(table: Table, group: _Group, design: VideoDesign, how: Resampling) -> list[PendingEstimate | Estimate]:
    """r with its Fisher interval, r with a jackknife over sources, and r within cells."""
    ((drift, loss),), strata = _by_source(table, design, group.cells)
    if len(drift) < 2:
        # Pairs of a single source would have a Fisher interval, but it does not generalise to other sources.
        return [undefined(int(np.isfinite(drift).sum()), "none", Note(code="too-few-units"))] * 3
    cells = _repeated(_stored(table, group.cells), drift)
    return [
        plan_pearson(drift, loss, how.level, "fisher"),
        plan_pearson(drift, loss, how.level, strata=strata),
        plan_within_cell(drift, loss, cells, how.level, strata=strata),
    ]


def _repeated(cells: Sequence[VideoCell], values: Floats) -> list[VideoCell]:
    """The cell of each column of values, in which the cells are repeated for each clip of a row."""
    return [cell for _ in range(values.shape[1] // max(1, len(cells))) for cell in cells]


def _adjusted(table: Table, group: _Group, design: VideoDesign, level: float) -> Adjusted:
    ((drift, loss),), _ = _by_source(table, design, group.cells)
    doses = [(cell.perturbation, cell.strength) for cell in _repeated(_stored(table, group.cells), drift)]
    return Adjusted(group.control, gee(drift, loss, doses, level))


def _correlation(table: Table, group: _Group, fisher: Estimate, cluster: Estimate, within: Estimate) -> Correlation:
    stored = _stored(table, group.cells)
    drift, _, pairs = _pairs(table, stored)
    clips = int(np.isfinite(drift).any(axis=1).sum())
    expected = int(table.present[:, table.columns(stored)].sum())
    missing = len(group.cells) - len(stored)
    return Correlation(
        group.kind, group.name, group.control, fisher, cluster, within, pairs, clips, expected - pairs, missing
    )


def _overlap(one: Estimate, other: Estimate) -> bool | None:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return None
    return one.low <= other.high and other.low <= one.high


def _clouds(table: Table, cells: Sequence[VideoCell], design: VideoDesign) -> Iterator[Cloud]:
    family = {name: entry.family for name, entry in design.perturbations.items()}
    for perturbation in sorted({cell.perturbation for cell in cells}, key=lambda name: (family[name], name)):
        for model, entry in design.models_by_size.items():
            chosen = [cell for cell in cells if (cell.perturbation, cell.model) == (perturbation, model)]
            drift, loss, _ = _pairs(table, chosen)
            defined = np.isfinite(drift)
            pairs = sorted(zip(drift[defined].tolist(), loss[defined].tolist(), strict=True))
            if pairs:
                yield Cloud(perturbation, model, entry.role == "control", tuple(pairs))
