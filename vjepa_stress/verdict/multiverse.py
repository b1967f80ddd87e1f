"""Multiverse: a rule applied again under registered alternatives of its analysis. They decide nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from pydantic import ValidationError

from vjepa_stress.design import Design, Where
from vjepa_stress.fields import Frozen
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.prereg.document import Hypothesis, Preregistration
from vjepa_stress.rules import Outcome
from vjepa_stress.statistics import STATISTICS, Statistic
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.judge import Exploratory, exploratory, judge
from vjepa_stress.verdict.multiplicity import leaf_levels, resampling
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
    if any(estimand is None for estimand in changed.values()):
        return None
    estimands = {name: estimand for name, estimand in changed.items() if estimand is not None}
    settings = {"confidence_level": one.level, "bootstrap_seed": one.seed}
    analysis = document.analysis.model_copy(update={name: to for name, to in settings.items() if to is not None})
    if estimands == judged.estimands and analysis == document.analysis and not one.leave_one_source_out:
        return None
    settled = document.model_copy(update={"analysis": analysis})
    tables = _without_each_source(table) if one.leave_one_source_out else [table]
    outcomes = {_judged(judged, estimands, part, settled) for part in tables}
    return outcomes.pop() if len(outcomes) == 1 else "differs"


def _judged(judged: Hypothesis, estimands: dict[str, Statistic], table: Table, document: Preregistration) -> Outcome:
    how, levels = resampling(document, judged), leaf_levels(document, judged)
    plans = {name: EstimationPlan.of(one, table, document.design) for name, one in estimands.items()}
    read = [
        (leaf.estimand, level)
        for leaf, one in zip(judged.rule.leaves(), levels, strict=True)
        if one
        for level in (one.confirm, one.refute)
    ]
    own = [(name, how.level) for name in plans]
    at = ByLevel(plans, table, how, strict=document.analysis.strict).at([*own, *read])
    outcome: Outcome = judge(judged.rule, {name: at[name, how.level] for name in plans}, levels, at).outcome  # type: ignore[assignment]
    return outcome


def _changed(estimand: Statistic, one: Alternative, design: Design) -> Statistic | None:
    """An estimand under an alternative, the same if the change concerns other statistics; None if it has no cells."""
    if one.statistic is not None:
        with contextlib.suppress(KeyError, ValidationError):
            estimand = STATISTICS[one.statistic].model_validate({**dict(estimand), "statistic": one.statistic})
    if one.interval is not None and one.interval in _intervals(estimand):
        estimand = estimand.model_copy(update={"interval": one.interval})
    if one.where is not None:
        filters = {name: _restricted(where, one.where) for name, where in estimand.filter_fields.items()}
        if any(where is None or not design.select(where) for where in filters.values()):
            return None
        estimand = estimand.model_copy(update=filters)
    return estimand


def _intervals(estimand: Statistic) -> tuple[str, ...]:
    """Intervals of a statistic. Estimands register no percentile or BCa interval, but alternatives can have it."""
    own = get_args(type(estimand).model_fields["interval"].annotation)
    return (*own, "percentile", "bca") if "expanded" in own else own


def _restricted(where: Where, to: Where) -> Where | None:
    """A filter with only the levels that both name; None if there are none."""
    for factor, levels in to.levels.items():
        kept = [level for level in where.levels.get(factor, levels) if level in levels]
        if not kept:
            return None
        where = where.at(factor, *kept)
    return where


def _without_each_source(table: Table) -> list[Table]:
    """The table without each source in turn."""
    tables = []
    for source in dict.fromkeys(table.sources):
        kept = np.array([other != source for other in table.sources])
        rows = np.flatnonzero(kept)
        tables.append(
            dataclasses.replace(
                table,
                units=tuple(table.units[n] for n in rows),
                sources=tuple(table.sources[n] for n in rows),
                present=table.present[kept],
                values={name: part[kept] for name, part in table.values.items()},
            )
        )
    return tables
