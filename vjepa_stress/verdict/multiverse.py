"""Multiverse: a rule applied again under registered alternatives of its analysis. They decide nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, cast, get_args

import numpy as np
from pydantic import ValidationError

from vjepa_stress.design import Design, Where
from vjepa_stress.fields import Frozen
from vjepa_stress.prereg.alternatives import LEAST_RESAMPLES, RESAMPLES, Alternative
from vjepa_stress.prereg.document import Analysis, Hypothesis, Preregistration, fits
from vjepa_stress.rules import Outcome
from vjepa_stress.statistics import STATISTICS, Statistic
from vjepa_stress.verdict.at_levels import judge_at_levels
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.judge import Exploratory, exploratory, levels_read
from vjepa_stress.verdict.multiplicity import leaf_levels, resampling
from vjepa_stress.verdict.needed import columns_of, needed_by
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.table import Table


class AlternativeRecord(Frozen):
    """The outcome of a rule under one alternative.

    Attributes:
        name: name of the alternative.
        outcome: the outcome; `differs` if it is not the same without each source; null if the alternative does not
            apply to the hypothesis.
    """

    name: str
    outcome: Outcome | Exploratory | Literal["differs"] | None

    def exploratory(self) -> AlternativeRecord:
        """The record with an exploratory outcome."""
        return self.model_copy(update={"outcome": self.outcome and exploratory(self.outcome)})


def multiverse(
    hypothesis: Hypothesis, alternatives: Sequence[Alternative], table: Table, document: Preregistration
) -> tuple[AlternativeRecord, ...]:
    """Apply the rule of a hypothesis under each alternative that concerns it; none if it is withdrawn.

    Args:
        hypothesis: the registered hypothesis.
        alternatives: the alternatives of the document.
        table: the shards.
        document: the document of the hypothesis.
    """
    judged = hypothesis.judged
    if judged is None:
        return ()
    return tuple(
        AlternativeRecord(name=one.name, outcome=_outcome(judged, one, table, document))
        for one in alternatives
        if one.hypothesis in (None, hypothesis.id)
    )


def agreement(outcome: str, records: Sequence[AlternativeRecord]) -> tuple[int, int]:
    """Number of alternatives with the registered outcome, and number of those that apply."""
    applied = [one.outcome for one in records if one.outcome is not None]
    return applied.count(outcome), len(applied)  # type: ignore[arg-type]


def _outcome(
    judged: Hypothesis, one: Alternative, table: Table, document: Preregistration
) -> Outcome | Literal["differs"] | None:
    changed = {name: _changed(estimand, one, document.design) for name, estimand in judged.estimands.items()}
    estimands = {name: estimand for name, estimand in changed.items() if estimand is not None}
    if len(estimands) < len(changed):
        return None
    settings = {"confidence_level": one.level, "bootstrap_seed": one.seed}
    analysis = document.analysis.model_copy(update={name: to for name, to in settings.items() if to is not None})
    unchanged = estimands == judged.estimands and not _matters(judged, document.analysis, analysis)
    if unchanged and not one.leave_one_source_out:
        return None
    settled = document.model_copy(update={"analysis": analysis})
    if one.leave_one_source_out:
        return _without_each_source(judged, estimands, table, settled)
    return _judged(judged, _plans(estimands, table, document.design), table, settled)


def _matters(judged: Hypothesis, before: Analysis, after: Analysis) -> bool:
    """Whether another level or seed changes an interval that the rule reads."""
    levels = [1 - one.confidence_level for one in (before, after)]
    for leaf in judged.rule.leaves():
        estimand = judged.estimands[leaf.estimand]
        relevels = estimand.sampled and len({leaf.interval_alpha(alpha) for alpha in levels}) > 1
        redraws = estimand.seeded and before.bootstrap_seed != after.bootstrap_seed
        if leaf.reads_interval and (relevels or redraws):
            return True
    return False


def _without_each_source(
    judged: Hypothesis, estimands: Mapping[str, Statistic], table: Table, document: Preregistration
) -> Outcome | Literal["differs"] | None:
    """The outcome without each source in turn, among those that the estimands read; None for a single source."""
    design = document.design
    needed = needed_by(estimands.values(), design)
    read = table.present[:, table.columns([cell for cell in table.cells if cell in needed])].any(axis=1)
    sources = np.unique(table.source[read]).tolist()
    if len(sources) < 2:
        return None
    names = columns_of(needed)
    table = dataclasses.replace(table, values={name: part for name, part in table.values.items() if name in names})
    plans = _plans(estimands, table, design)
    fewer = max(LEAST_RESAMPLES, RESAMPLES // len(sources))
    resamples = min(document.analysis.bootstrap_resamples, fewer)
    analysis = document.analysis.model_copy(update={"bootstrap_resamples": resamples})
    settled = document.model_copy(update={"analysis": analysis})
    seen: Outcome | None = None
    for source in sources:
        rest = table.only(table.source != source)
        outcome = _judged(judged, {name: plan.on(rest, design) for name, plan in plans.items()}, rest, settled)
        if seen not in (None, outcome):
            return "differs"
        seen = outcome
    return seen


def _plans(estimands: Mapping[str, Statistic], table: Table, design: Design) -> dict[str, EstimationPlan]:
    return {name: EstimationPlan.of(one, table, design) for name, one in estimands.items()}


def _judged(
    judged: Hypothesis, plans: Mapping[str, EstimationPlan], table: Table, document: Preregistration
) -> Outcome:
    how, levels = resampling(document, judged), leaf_levels(document, judged)
    read = [(leaf.estimand, level) for leaf, level in levels_read(judged.rule, levels, how.level)]
    seen = ByLevel(plans, table, how, strict=document.analysis.strict).at(read)
    return cast(Outcome, judge_at_levels(judged.rule, seen, levels, how.level).outcome)


def _changed(estimand: Statistic, one: Alternative, design: Design) -> Statistic | None:
    """An estimand under an alternative, the same if the change concerns other statistics.

    None if it has no cells, or is constant or undefined for all data.
    """
    other = estimand
    if one.statistic is not None:
        other = _as_statistic(other, one.statistic, design)
    if one.interval is not None and one.interval in _intervals(other):
        other = other.model_copy(update={"interval": one.interval})
    if one.where is not None:
        filters = {name: _restricted(where, one.where, design) for name, where in other.filter_fields.items()}
        if any(where is None or not design.select(where) for where in filters.values()):
            return None
        other = other.model_copy(update=filters)
    # The same cells, written as another filter, are the same analysis.
    if other.meaning(design) == estimand.meaning(design):
        return estimand
    return None if any(True for _ in other.defects(design)) or not fits(design, other) else other


def _as_statistic(estimand: Statistic, name: str, design: Design) -> Statistic:
    """Another statistic with the same fields; the same one if it has other fields, or yields another kind."""
    kind = STATISTICS[name]
    fields = {**dict(estimand), "statistic": name}
    if estimand.interval not in get_args(kind.model_fields["interval"].annotation):
        del fields["interval"]
    with contextlib.suppress(ValidationError):
        other = kind.model_validate(fields)
        if other.yields == estimand.yields and fits(design, other):
            return other
    return estimand


def _intervals(estimand: Statistic) -> tuple[str, ...]:
    """Intervals of a statistic. Alternatives can have some that no estimand registers."""
    return (*get_args(type(estimand).model_fields["interval"].annotation), *estimand.other_ends)


def _restricted(where: Where, to: Where, design: Design) -> Where | None:
    """A filter with only the levels that both select; None if there are none."""
    selected = {**design.default_levels, **where.levels}
    for factor, levels in to.levels.items():
        kept = [level for level in selected.get(factor, levels) if level in levels]
        if not kept:
            return None
        where = where.at(factor, *kept)
    return where
