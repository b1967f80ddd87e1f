"""Correction for several tests: levels of intervals, and adjusted p-values.

*In a family*, rules use Bonferroni's correction: each of m hypotheses reads intervals at level 1 − α/m.

*In a hypothesis*, a combination of n sub-rules that needs k of them to be confirmed is wrongly confirmed only if at
least one of n − k + 1 wrong sub-rules is confirmed: its sub-rules are confirmed at α/(n − k + 1). This is the
intersection–union test for `all_of` (α) and Bonferroni's correction for `any_of` (α/n). Refutations are the mirror
image. The divisors of nested combinations multiply.

The p-value of a hypothesis is the smallest α at which its rule confirms, by inversion of its intervals. p-values
decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration
from vjepa_stress.rules import Combination, LeafRule, Rule
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.at_levels import judge_at_levels
from vjepa_stress.verdict.by_level import ByLevel
from vjepa_stress.verdict.judge import Levels, levels_read
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.table import Table

_GRID = 60
"""Number of levels at which the search for a p-value begins."""

_HALVINGS = 15

_LEAST_LEVEL = 1e-9
"""Level of the narrowest interval, at which α is almost 1."""


def resampling(document: Preregistration, hypothesis: Hypothesis | None = None) -> Resampling:
    """Settings of the intervals of a study, or of one hypothesis before the correction within it."""
    analysis = document.analysis
    level = (
        analysis.confidence_level if hypothesis is None else _level(_alpha(document), _family(document, hypothesis))
    )
    return Resampling(level=level, resamples=analysis.bootstrap_resamples, seed=analysis.bootstrap_seed)


def leaf_levels(
    document: Preregistration, hypothesis: Hypothesis, divisor: float | None = None
) -> list[Levels | None]:
    """The levels with which the leaves of a rule are decided.

    Withdrawn hypotheses and sub-rules are still counted, so that a withdrawal does not make the rest easier to
    confirm.

    Args:
        document: the document of the hypothesis.
        hypothesis: a hypothesis, perhaps without its withdrawn estimands.
        divisor: by how much the α of the study is divided before the correction within the hypothesis. The default is
            the number of hypotheses in the family, if corrected.

    Returns:
        One item per leaf that is not withdrawn, in order. None for a leaf that reads no interval, or whose levels are
        those of the hypothesis, 1 − α/divisor.
    """
    alpha = _alpha(document)
    divisor = _family(document, hypothesis) if divisor is None else divisor
    own = _level(alpha, divisor)
    (registered,) = (one for one in document.hypotheses if one.id == hypothesis.id)
    found: list[Levels | None] = []
    for leaf, confirm, refute in _divisors(registered.rule):
        if leaf.estimand in hypothesis.withdrawn:
            continue
        if document.analysis.within_hypothesis == "none":
            confirm = refute = 1
        wanted = leaf.interval_alpha(alpha)
        levels = Levels(
            confirm=_level(wanted, divisor * confirm),
            refute=_level(wanted, divisor * refute),
            confirm_over=confirm,
            refute_over=refute,
        )
        differs = leaf.reads_interval and (levels.confirm, levels.refute) != (own, own)
        found.append(levels if differs else None)
    return found


def _alpha(document: Preregistration) -> float:
    return 1 - document.analysis.confidence_level


def _level(alpha: float, divisor: float) -> float:
    return max(1 - alpha / divisor, _LEAST_LEVEL)


def _family(document: Preregistration, hypothesis: Hypothesis) -> int:
    """Number of hypotheses among which α is divided."""
    if document.analysis.multiplicity == "none" or hypothesis.family == CALIBRATION:
        return 1
    return sum(one.family == hypothesis.family for one in document.hypotheses)


def _divisors(rule: Rule, confirm: int = 1, refute: int = 1) -> Iterator[tuple[LeafRule, int, int]]:
    """Each leaf, with the divisors of α for its confirmation and for its refutation."""
    if isinstance(rule, LeafRule):
        yield rule, confirm, refute
    elif isinstance(rule, Combination):
        n, (to_confirm, to_refute) = len(rule.of), rule.needed
        for part in rule.of:
            yield from _divisors(part, confirm * (n - to_confirm + 1), refute * (n - to_refute + 1))


def p_value(hypothesis: Hypothesis, table: Table, document: Preregistration) -> float | None:
    """Smallest α at which the rule of a hypothesis confirms, with its registered correction within the hypothesis.

    α is searched from below: first on a geometric grid that includes the registered α, then by bisection between the
    first α that confirms and the one below it. A rule need not be monotone in α: the noise of `monotone_pooled` hides
    a reversal if intervals are wide enough. The α of a leaf that has its own is changed in proportion.

    Returns:
        A number from 1/(resamples + 1) to 1; 1 if the rule confirms at no α. At most the registered α, divided within
        the family, if the rule confirms there. None for a rule that reads no interval, or if it confirms at no α and
        an undefined estimate matters.
    """
    if not any(leaf.reads_interval for leaf in hypothesis.rule.leaves()):
        return None
    alpha, family = _alpha(document), _family(document, hypothesis)
    plans = {name: EstimationPlan.of(one, table, document.design) for name, one in hypothesis.estimands.items()}
    estimates = ByLevel(plans, table, resampling(document, hypothesis), strict=document.analysis.strict)
    outcomes: dict[float, str] = {}

    def confirms(divisor: float) -> bool:
        levels, own = leaf_levels(document, hypothesis, divisor), _level(alpha, divisor)
        seen = estimates.at((leaf.estimand, level) for leaf, level in levels_read(hypothesis.rule, levels, own))
        outcomes[divisor] = judge_at_levels(hypothesis.rule, seen, levels, own).outcome
        return outcomes[divisor] == "confirmed"

    smallest, largest = 1 / (document.analysis.bootstrap_resamples + 1), 1 - _LEAST_LEVEL
    # The registered divisor itself, so that its levels are exactly those of the verdict.
    divisors = sorted({*(alpha / np.geomspace(smallest, largest, _GRID)).tolist(), family}, reverse=True)
    first = next((n for n, divisor in enumerate(divisors) if confirms(divisor)), None)
    if first is None:
        return None if "not-evaluable" in outcomes.values() else 1.0
    found, below = alpha / divisors[first], alpha / divisors[max(first - 1, 0)]
    for _ in range(_HALVINGS if first else 0):
        middle = (below + found) / 2
        below, found = (below, middle) if confirms(alpha / middle) else (middle, found)
    # 1 − 0.95 is not exactly 0.05.
    return float(f"{found:.12g}")


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down procedure (1979), computed by statsmodels."""
    if not p_values:
        return []
    # Imported when needed: statsmodels imports pandas, which would dominate the start-up time of an audit.
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests(p_values, method="holm")[1]
    return [float(value) for value in adjusted]
