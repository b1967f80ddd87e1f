"""Estimates at several levels, from one set of resamples."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Generic, TypeVar

from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, finish
from vjepa_stress.statistics.numerics.resample import Resampling, resample
from vjepa_stress.verdict.plan import EstimationPlan
from vjepa_stress.verdict.table import Table

Key = TypeVar("Key")


class ByLevel(Generic[Key]):
    """Estimates of one table at any level. Bootstrap intervals of all levels are computed from the same resamples."""

    def __init__(
        self,
        plans: Mapping[Key, EstimationPlan | Estimate],
        table: Table,
        how: Resampling,
        *,
        strict: bool,
        first: Mapping[Key, float] | None = None,
        points: Collection[Key] = (),
    ) -> None:
        """Read the table and resample.

        Args:
            plans: the estimands, or estimates that are the same at every level.
            table: a table with the cells of the plans.
            how: resamples and seed.
            strict: see `EstimationPlan.read`.
            first: a level that will be asked for, by estimand, which saves time; the default is the level of `how`.
            points: estimands of which only the value is read; their intervals are not computed.
        """
        self.table, self.how, self.strict = table, how, strict
        self.fixed: dict[Key, Estimate] = {}
        pending: dict[Key, PendingEstimate] = {}
        # Estimands whose intervals are not resampled from means are read again at every level.
        self.others: dict[Key, tuple[EstimationPlan, dict[float, Estimate]]] = {}
        for key, plan in plans.items():
            level = (first or {}).get(key, how.level)
            planned = plan if isinstance(plan, Estimate) else plan.read(table, self._at(level), strict=strict)
            if isinstance(planned, PendingEstimate):
                if key in points:
                    self.fixed[key] = planned.point()
                else:
                    pending[key] = planned
            elif isinstance(plan, Estimate) or planned.method == "none":
                self.fixed[key] = planned
            else:
                self.others[key] = plan, {level: planned}
        members = iter(pending.items())
        self.batches = [
            [(*next(members), drawn) for drawn in batch]
            for batch in resample([one.statistic for one in pending.values()], how)
        ]

    def at(self, wanted: Iterable[tuple[Key, float]]) -> dict[tuple[Key, float], Estimate]:
        """The estimates of some estimands at some levels."""
        by_level: dict[float, set[Key]] = {}
        for key, level in wanted:
            by_level.setdefault(level, set()).add(key)
        found: dict[tuple[Key, float], Estimate] = {}
        for level, keys in by_level.items():
            chosen = [kept for batch in self.batches if (kept := [member for member in batch if member[0] in keys])]
            members = [member for batch in chosen for member in batch]
            finished = finish(
                [one for _, one, _ in members], iter([[drawn for _, _, drawn in batch] for batch in chosen]), level
            )
            found |= {(key, level): estimate for (key, _, _), estimate in zip(members, finished, strict=True)}
            found |= {(key, level): self.fixed[key] for key in keys & self.fixed.keys()}
            found |= {(key, level): self._other(key, level) for key in keys & self.others.keys()}
        return found

    def _other(self, key: Key, level: float) -> Estimate:
        plan, known = self.others[key]
        if level not in known:
            read = plan.read(self.table, self._at(level), strict=self.strict)
            if isinstance(read, PendingEstimate):
                raise TypeError(f"{key} is resampled at one level but not at another")
            known[level] = read
        return known[level]

    def _at(self, level: float) -> Resampling:
        return self.how if level == self.how.level else self.how.model_copy(update={"level": level})
