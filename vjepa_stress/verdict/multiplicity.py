"""Correction for several hypotheses of one family: wider intervals for rules, and adjusted p-values.

Rules use Bonferroni's correction: each of m hypotheses of a family reads intervals at level 1 − α/m. The p-value of a
hypothesis is the smallest α at which its rule confirms, by inversion of its intervals. p-values decide nothing.
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
    """Settings of the intervals of a study, or of the intervals that the rule of one hypothesis reads.

    Withdrawn hypotheses are still counted, so that a withdrawal does not make the other hypotheses easier to confirm.
    """
    analysis = document.analysis
    level = analysis.confidence_level
    if hypothesis is not None and analysis.multiplicity == "bonferroni" and hypothesis.family != CALIBRATION:
        family = [one for one in document.hypotheses if one.family == hypothesis.family]
        level = 1 - (1 - level) / len(family)
    return Resampling(level=level, resamples=analysis.bootstrap_resamples, seed=analysis.bootstrap_seed)


def p_value(hypothesis: Hypothesis, table: Table, document: Preregistration) -> float | None:
    """Smallest α at which the rule of a hypothesis confirms.

    Returns:
        A number from 1/(resamples + 1) to 1; 1 if the rule confirms at no α. None for a rule that reads no interval,
        or if an estimate is undefined.
    """
    if not any(leaf.reads_interval for leaf in hypothesis.rule.leaves()):
        return None
    estimates_at = _estimates_by_level(hypothesis, table, document)
    smallest, largest = 1 / (document.analysis.bootstrap_resamples + 1), 1 - 1e-9

    def outcome(alpha: float) -> str:
        return judge(hypothesis.rule, estimates_at(1 - alpha)).outcome

    at_largest = outcome(largest)
    if at_largest != "confirmed":
        return None if at_largest == "not-evaluable" else 1.0
    if outcome(smallest) == "confirmed":
        return smallest
    # Intervals of a higher level contain those of a lower level, so the outcome changes once between the two.
    for _ in range(_HALVINGS):
        middle = (smallest + largest) / 2
        smallest, largest = (smallest, middle) if outcome(middle) == "confirmed" else (middle, largest)
    return largest


def _estimates_by_level(
    hypothesis: Hypothesis, table: Table, document: Preregistration
) -> Callable[[float], Mapping[str, Estimate]]:
    """The estimates of a hypothesis as a function of the level, from one set of resamples."""
    how, strict = resampling(document), document.analysis.strict
    plans = {name: EstimationPlan.of(one, table, document.design) for name, one in hypothesis.estimands.items()}
    planned = {name: plan.read(table, how, strict=strict) for name, plan in plans.items()}
    pending = {name: one for name, one in planned.items() if isinstance(one, PendingEstimate)}
    resampled = list(resample([one.statistic for one in pending.values()], how))

    def estimates(level: float) -> Mapping[str, Estimate]:
        finished = iter(finish(list(pending.values()), iter(resampled), level))
        at_level = how.model_copy(update={"level": level})
        found: dict[str, Estimate] = {}
        for name, plan in plans.items():
            estimate = next(finished) if name in pending else plan.read(table, at_level, strict=strict)
            if isinstance(estimate, PendingEstimate):
                raise TypeError(f"{name} is resampled at one level but not at another")
            found[name] = estimate
        return found

    return estimates


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down procedure (1979), computed by statsmodels."""
    if not p_values:
        return []
    # Imported when needed: statsmodels imports pandas, which would dominate the start-up time of an audit.
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests(p_values, method="holm")[1]
    return [float(value) for value in adjusted]
