"""Several hypotheses of one family: wider intervals for rules, and adjusted p-values.

Bonferroni's correction is what rules use: each of m hypotheses of a family reads intervals at 1 − α/m. p-values
decide nothing. That of a hypothesis is the smallest α at which its rule would confirm: its intervals, inverted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, finish
from vjepa_stress.statistics.numerics.resample import Resampling, resample
from vjepa_stress.verdict.judge import judge
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.table import Table

_HALVINGS = 20


def resampling(document: Preregistration, hypothesis: Hypothesis | None = None) -> Resampling:
    """How intervals are computed: of a study, or as the rule of one hypothesis reads them.

    Withdrawn hypotheses go on counting: withdrawing one must not make the others easier.
    """
    analysis = document.analysis
    level = analysis.confidence_level
    if hypothesis is not None and analysis.multiplicity == "bonferroni" and hypothesis.family != CALIBRATION:
        family = [one for one in document.hypotheses if one.family == hypothesis.family]
        level = 1 - (1 - level) / len(family)
    return Resampling(level=level, resamples=analysis.bootstrap_resamples, seed=analysis.bootstrap_seed)


def p_value(hypothesis: Hypothesis, table: Table, document: Preregistration) -> float | None:
    """Smallest α at which the hypothesis's rule would confirm: 1 when none would, at least 1/(resamples + 1).

    Returns:
        None for a rule that reads no interval, and where an estimate is undefined.
    """
    if not any(leaf.reads_interval for leaf in hypothesis.rule.leaves()):
        return None
    at = _at_level(hypothesis, table, document)
    smallest, largest = 1 / (document.analysis.bootstrap_resamples + 1), 1 - 1e-9

    def says(alpha: float) -> str:
        return judge(hypothesis.rule, at(1 - alpha)).outcome

    loosest = says(largest)
    if loosest != "confirmed":
        return None if loosest == "not-evaluable" else 1.0
    if says(smallest) == "confirmed":
        return smallest
    # Intervals of a higher level contain those of a lower one: between the two the rule turns once.
    for _ in range(_HALVINGS):
        middle = (smallest + largest) / 2
        smallest, largest = (smallest, middle) if says(middle) == "confirmed" else (middle, largest)
    return largest


def _at_level(
    hypothesis: Hypothesis, table: Table, document: Preregistration
) -> Callable[[float], Mapping[str, Estimate]]:
    """The hypothesis's estimates as a function of the level, from one set of resamples."""
    how, strict = resampling(document), document.analysis.missing_data == "not-evaluable"
    plans = {name: EstimationPlan.of(one, table, document.design) for name, one in hypothesis.estimands.items()}
    planned = {name: plan.read(table, how, strict=strict) for name, plan in plans.items()}
    pending = {name: one for name, one in planned.items() if isinstance(one, PendingEstimate)}
    resampled = list(resample([one.statistic for one in pending.values()], how))

    def estimates(level: float) -> Mapping[str, Estimate]:
        finished = iter(finish(list(pending.values()), iter(resampled), level))
        here = how.model_copy(update={"level": level})
        found: dict[str, Estimate] = {}
        for name, plan in plans.items():
            known = next(finished) if name in pending else plan.read(table, here, strict=strict)
            if isinstance(known, PendingEstimate):
                raise TypeError(f"{name} is resampled at one level and not at another")
            found[name] = known
        return found

    return estimates


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979), by statsmodels."""
    if not p_values:
        return []
    # Imported here: with pandas behind it, it would be most of the time that an audit takes to start.
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests(p_values, method="holm")[1]
    return [float(value) for value in adjusted]
