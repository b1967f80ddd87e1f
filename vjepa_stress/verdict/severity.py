"""Severity: the verdicts on one hypothesis if the truth of each part of its rule is exactly at a border.

The estimates of a simulated study are moved by the distance from the truth of its world to the border. Their sampling
error remains that of the world, which is an approximation for ratios and correlations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Literal, get_args

import numpy as np

from vjepa_stress.prereg.document import Hypothesis, Preregistration
from vjepa_stress.rules import Combination, LeafRule, Rule
from vjepa_stress.statistics.base import Span
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, Step
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.judge import Levels, judge
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.worlds import World

Border = Literal["at_refuting", "at_confirming"]
BORDERS: tuple[Border, ...] = get_args(Border)

TRUTH_STUDIES = 100
"""Number of simulated studies whose mean is the truth: its error is a tenth of that of one study."""

_FEW = 20
"""Number of resamples where intervals are not read. Some estimands resample at once."""


class AtBorders:
    """Judges a hypothesis on estimates that are moved to the borders of its rule.

    Each leaf has a truth of its own, even if several leaves read one estimand.
    """

    def __init__(
        self, hypothesis: Hypothesis, truths: Mapping[str, float | None], ranges: Mapping[str, Span]
    ) -> None:
        """Give each leaf an estimand of its own.

        Args:
            hypothesis: the hypothesis.
            truths: estimand → its true value, or its true change from first to last; None if it is undefined.
            ranges: estimand → its smallest and largest possible value.
        """
        self.truths, self.ranges = truths, ranges
        self.leaves = list(hypothesis.rule.leaves())
        self.rule = _numbered(hypothesis.rule, count())

    def outcomes(
        self,
        estimates: Mapping[str, Estimate],
        levels: Sequence[Levels | None],
        at: Mapping[tuple[str, float], Estimate],
    ) -> Iterator[tuple[Border, str]]:
        """The outcome at each border. The arguments are those of `judge`."""
        for border in BORDERS:
            moved: dict[str, Estimate] = {}
            moved_at: dict[tuple[str, float], Estimate] = {}
            for n, (leaf, of_leaf) in enumerate(zip(self.leaves, levels, strict=True)):
                if of_leaf is None:
                    moved[str(n)] = self._moved(leaf, estimates[leaf.estimand], border)
                else:
                    for level in {of_leaf.confirm, of_leaf.refute}:
                        moved_at[str(n), level] = self._moved(leaf, at[leaf.estimand, level], border)
            yield border, judge(self.rule, moved, levels, moved_at).outcome

    def _moved(self, leaf: LeafRule, estimate: Estimate, border: Border) -> Estimate:
        truth = self.truths[leaf.estimand]
        if truth is None or estimate.value is None or estimate.low is None or estimate.high is None:
            return estimate
        to = leaf.border(border == "at_confirming", truth)
        if to is None:
            return estimate
        if estimate.overall is None:
            low, high = self.ranges[leaf.estimand]
            ends = (min(max(one + to - truth, low), high) for one in (estimate.value, estimate.low, estimate.high))
            return estimate.model_copy(update=dict(zip(("value", "low", "high"), ends, strict=True)))
        if leaf.reads == "pooled-curve":
            to *= estimate.overall.half_width or 0.0
        # The change from first to last is the sum of the steps. The rank correlation of a trend stays as it is.
        steps = tuple(_changed(step, (to - truth) / len(estimate.steps)) for step in estimate.steps)
        return estimate.model_copy(update={"overall": _changed(estimate.overall, to - truth), "steps": steps})


def at_borders(
    document: Preregistration,
    hypotheses: Sequence[Hypothesis],
    plans: Mapping[tuple[str, str], EstimationPlan],
    world: World,
    how: Resampling,
    seed: int,
) -> dict[str, AtBorders]:
    """The hypotheses, with the true values of their estimands in a world.

    Args:
        document: the document of the hypotheses.
        hypotheses: some of its hypotheses, as they are judged.
        plans: hypothesis and estimand → the plan for tables of the world.
        world: the world.
        how: settings of intervals; their number of resamples is not used.
        seed: seed of the simulated units. The studies differ from those that are judged.
    """
    names = [(one.id, name) for one in hypotheses for name in one.estimands]
    found: dict[tuple[str, str], list[float]] = {key: [] for key in names}
    how = how.model_copy(update={"resamples": _FEW})
    for number in range(TRUTH_STUDIES if names else 0):
        table = world.draw(np.random.Generator(np.random.PCG64([seed, number, 1])))
        for key in names:
            place = _position(plans[key].read(table, how, strict=document.analysis.strict))
            found[key].extend(() if place is None else (place,))
    spans = {name: column.range for name, column in document.design.columns.items()}
    return {
        one.id: AtBorders(
            one,
            {name: float(np.mean(places)) if (places := found[one.id, name]) else None for name in one.estimands},
            {
                name: of.value_range([spans[of.columns()[0]]] * len(of.filters()))
                for name, of in one.estimands.items()
            },
        )
        for one in hypotheses
    }


def _position(planned: PendingEstimate | Estimate) -> float | None:
    """The number that a border refers to: the change of a curve or trend, else the value; None if undefined."""
    # A pending trend resamples its change.
    one = planned.point() if isinstance(planned, PendingEstimate) else planned
    return one.value if one.overall is None else one.overall.value


def _changed(step: Step, by: float) -> Step:
    low, high = (None if end is None else end + by for end in (step.low, step.high))
    return step.model_copy(update={"value": step.value + by, "low": low, "high": high})


def _numbered(rule: Rule, numbers: Iterator[int]) -> Rule:
    """The rule with the number of each leaf as the name of its estimand."""
    if isinstance(rule, Combination):
        return rule.model_copy(update={"of": tuple(_numbered(part, numbers) for part in rule.of)})
    return rule.model_copy(update={"estimand": str(next(numbers))})
