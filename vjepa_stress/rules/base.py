"""What every rule declares: fields, borders, decision, and words.

A rule is one file in this folder; `vjepa_stress.rules` finds it by listing the folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from vjepa_stress.fields import Finite, Frozen, Name
from vjepa_stress.statistics.numerics.estimate import Estimate

Outcome = Literal["confirmed", "ambiguous", "refuted", "not-evaluable"]

Numbers = dict[str, Finite | int | str]
"""What a clause names: registered numbers, counts, names."""


class Decision(NamedTuple):
    """Where an estimate lies: in the region of confirmation, of refutation, or in neither; never in both."""

    confirmed: bool
    refuted: bool

    @property
    def outcome(self) -> Outcome:
        """The outcome."""
        return "confirmed" if self.confirmed else "refuted" if self.refuted else "ambiguous"


class Rule(Frozen, ABC):
    """A rule maps every possible estimate to exactly one outcome.

    Class attributes:
        words: templates of the texts about it, by code; `report.words` fills them in. `confirmed`, `refuted` and
            `ambiguous` are its clauses, `asks` says what it asks for. `NAME FIELD=VALUE` is what `{NAME}` becomes
            where the field has the value.
    """

    words: ClassVar[Mapping[str, str]]

    kind: str

    def leaves(self) -> Iterator[LeafRule]:
        """The rules at the ends of the tree, those that read an estimand."""
        raise NotImplementedError

    def depth(self) -> int:
        """Levels of the rule; one that reads an estimand has one."""
        raise NotImplementedError

    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """What is left of the rule without some estimands; None when nothing is.

        Raises:
            ValueError: when a rule that counts would lose sub-rules.
        """
        raise NotImplementedError

    @abstractmethod
    def numbers(self) -> Numbers:
        """The registered numbers that its clauses name."""


class LeafRule(Rule):
    """A rule that reads one estimand.

    Class attributes:
        reads: whether it reads a number with an interval, or a curve of steps.
        two_sided: whether the interval must fit between two borders.
    """

    reads: ClassVar[Literal["number", "curve"]] = "number"
    two_sided: ClassVar[bool] = False

    estimand: Name

    @abstractmethod
    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:
        """Where a defined estimate lies.

        Args:
            value, low, high: of the estimate; never null.
            estimate: the whole of it, for rules that read its steps.
        """

    @abstractmethod
    def borders(self) -> tuple[float, ...]:
        """The numbers at which its outcome changes; of a rule that reads a curve, in half-widths."""

    def stated(self) -> tuple[float, ...]:
        """Those borders that must lie where the estimand can."""
        return self.borders() if self.reads == "number" else ()

    @property
    def reads_interval(self) -> bool:
        """Whether it reads the interval of its estimand, and not the value alone."""
        return True

    def leaves(self) -> Iterator[LeafRule]:
        """Itself."""
        yield self

    def depth(self) -> int:
        """One."""
        return 1

    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """Itself, or nothing."""
        return None if self.estimand in withdrawn else self


if TYPE_CHECKING:
    AnyRule = Rule
else:
    AnyRule = "AnyRule"


class Combination(Rule):
    """A rule that combines the outcomes of others."""

    of: tuple[AnyRule, ...] = Field(min_length=1)

    @abstractmethod
    def combine(self, outcomes: Sequence[str]) -> Decision:
        """The decision, given the outcomes of its sub-rules."""

    def numbers(self) -> Numbers:
        """How many sub-rules it has."""
        return {"n": len(self.of)}

    def leaves(self) -> Iterator[LeafRule]:
        """Those of its sub-rules."""
        for part in self.of:
            yield from part.leaves()

    def depth(self) -> int:
        """One more than its deepest sub-rule."""
        return 1 + max(part.depth() for part in self.of)

    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """The same without the sub-rules that read what is withdrawn."""
        left = tuple(part for part in (one.remaining(withdrawn) for one in self.of) if part is not None)
        return self.model_copy(update={"of": left}) if left else None


def count(outcomes: Sequence[str]) -> tuple[int, int]:
    """How many outcomes are confirmed, and how many refuted."""
    return sum(one == "confirmed" for one in outcomes), sum(one == "refuted" for one in outcomes)
