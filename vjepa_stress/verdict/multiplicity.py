"""Several hypotheses of one family: wider intervals for rules, and adjusted p-values beside them.

Bonferroni's correction is what rules use: each of m hypotheses of a family reads intervals at 1 − α/m. p-values
decide nothing. That of a hypothesis is the smallest α at which its rule would confirm: its intervals, inverted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration
from vjepa_stress.prereg.rules import leaves, reads_interval
from vjepa_stress.verdict.answer import Asked, Estimate, answers
from vjepa_stress.verdict.judge import judge
from vjepa_stress.verdict.question import Question
from vjepa_stress.verdict.resample import Resampling, resample
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
    if not any(map(reads_interval, leaves(hypothesis.rule))):
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
    questions = {name: Question.of(one, table, document.design) for name, one in hypothesis.estimands.items()}
    asked = {name: question.put(table, how, strict=strict) for name, question in questions.items()}
    pending = {name: one for name, one in asked.items() if isinstance(one, Asked)}
    resampled = list(resample([one.statistic for one in pending.values()], how))

    def estimates(level: float) -> Mapping[str, Estimate]:
        answered = iter(answers(list(pending.values()), iter(resampled), level))
        here = how.model_copy(update={"level": level})
        found: dict[str, Estimate] = {}
        for name, question in questions.items():
            known = next(answered) if name in pending else question.put(table, here, strict=strict)
            assert isinstance(known, Estimate)  # noqa: S101  # what was no resampling at one level is none at another
            found[name] = known
        return found

    return estimates


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): in rising order p times the number still standing, never falling."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(value) for value in adjusted]
