"""Registered looks: which sources each look uses, and which look decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vjepa_stress.fields import Frozen
from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration, Sequential
from vjepa_stress.rules import Outcome
from vjepa_stress.statistics.numerics.estimate import Estimate
from vjepa_stress.verdict.judge import Exploratory, exploratory
from vjepa_stress.verdict.order import of_first_sources
from vjepa_stress.verdict.table import Table

DECIDED = ("confirmed", "refuted")
"""Outcomes after which no later look matters."""


class LookRecord(Frozen):
    """A hypothesis at one registered look.

    Attributes:
        sources: number of sources of each data set that the look uses, or all of them if there are fewer.
        outcome: outcome of the rule.
        estimates: the estimates at the level of the hypothesis.
    """

    sources: int
    outcome: Literal[Outcome, Exploratory]
    estimates: dict[str, Estimate]

    def exploratory(self) -> LookRecord:
        """The record with an exploratory outcome."""
        return self.model_copy(update={"outcome": exploratory(self.outcome)})


def looks_at(hypothesis: Hypothesis, document: Preregistration) -> tuple[int, ...]:
    """The registered looks at a hypothesis; none if it is read once, with all sources."""
    stopping = document.analysis.stopping
    once = hypothesis.family == CALIBRATION or hypothesis.judged is None
    return stopping.looks if isinstance(stopping, Sequential) and not once else ()


def at_look(table: Table, sources: int | None, document: Preregistration) -> Table:
    """The table with the sources of a look; None for all sources."""
    if sources is None:
        return table
    kept = of_first_sources(table, sources, document.design, document.analysis.bootstrap_seed)
    return table if kept.all() else table.only(kept)


def deciding(outcomes: Mapping[int, str]) -> int:
    """The first look that confirms or refutes; the last look if there is none."""
    return next((sources for sources, outcome in outcomes.items() if outcome in DECIDED), max(outcomes))
