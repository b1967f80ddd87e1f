"""Estimates of a hypothesis at all levels that its rule reads, and the verdict of the rule on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vjepa_stress.prereg.document import Hypothesis
from vjepa_stress.rules import Rule
from vjepa_stress.statistics import Statistic
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, undefined
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.gate import Evidence
from vjepa_stress.verdict.judge import Levels, Verdict, judge, levels_read
from vjepa_stress.verdict.needed import cells_of
from vjepa_stress.verdict.plan import EstimationPlan

AtLevels = dict[tuple[str, float], Estimate]
"""Estimates by name and level."""


def judge_at_levels(rule: Rule, seen: AtLevels, levels: Sequence[Levels | None], own: float) -> Verdict:
    """Apply a rule to estimates at the level `own` of the hypothesis, and at those of its leaves."""
    return judge(rule, {name: one for (name, level), one in seen.items() if level == own}, levels, seen)


def estimates_at_levels(
    several: Sequence[Mapping[str, Statistic]],
    hypothesis: Hypothesis,
    levels: Sequence[Levels | None],
    evidence: Evidence,
    how: Resampling,
) -> list[AtLevels]:
    """Several sets of estimands with the names of a hypothesis, at the level of `how` and at those of its leaves."""
    rule = hypothesis.rest
    read = {(leaf.estimand, level) for leaf, level in levels_read(rule, levels, how.level)} if rule else set()
    plans: dict[tuple[int, str], EstimationPlan | Estimate] = {}
    for n, estimands in enumerate(several):
        plans |= {(n, name): plan_of(estimand, evidence) for name, estimand in estimands.items()}
    strict = evidence.registration.document.analysis.strict
    wanted = [
        ((n, name), level)
        for n, name in plans
        for level in (how.level, *sorted(level for other, level in read if other == name and level != how.level))
    ]
    found = ByLevel(plans, evidence.table, how, strict=strict).at(wanted)
    return [
        {(name, level): found[(n, name), level] for (other, name), level in wanted if other == n}
        for n in range(len(several))
    ]


def plan_of(estimand: Statistic, evidence: Evidence) -> EstimationPlan | Estimate:
    """The plan of an estimand; an undefined estimate if cells are missing."""
    design = evidence.registration.document.design
    missing = [cell for cell in cells_of(estimand, design) if cell not in evidence.cells]
    if missing:  # only in an exploratory evaluation
        return undefined(0, "none", Note(code="cells-missing", value=len(missing)))
    return EstimationPlan.of(estimand, evidence.table, design)
