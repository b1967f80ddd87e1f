"""Base classes of rules: fields, borders, decision, and words.

A rule is one file in this folder. `vjepa_stress.rules` finds it by listing the folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from vjepa_stress.fields import Finite, Frozen, Name, Text
from vjepa_stress.statistics.numerics.estimate import Estimate, Reads

Outcome = Literal["confirmed", "ambiguous", "refuted", "not-evaluable"]

Numbers = dict[str, Finite | int | str]
"""Values that a clause names: registered numbers, counts, names."""


class Decision(NamedTuple):
    """Whether an estimate is in the region of confirmation, in that of refutation, or in neither; never in both."""

    confirmed: bool
    refuted: bool

    @property
    def outcome(self) -> Outcome:
        """The outcome."""
        return "confirmed" if self.confirmed else "refuted" if self.refuted else "ambiguous"


class Rule(Frozen, ABC):
    """A rule maps every possible estimate to exactly one outcome.

    Class attributes:
        words: templates of its texts, by code; `report.words` fills them in. `confirmed`, `refuted` and `ambiguous`
            describe its clauses, `condition` describes what it requires. The text `NAME FIELD=VALUE` replaces
            `{NAME}` when the field has this value.
    """

    words: ClassVar[Mapping[str, str]]

    kind: str

    @abstractmethod
    def leaves(self) -> Iterator[LeafRule]:
        """The leaves of the tree of rules, which read estimands."""

    @abstractmethod
    def depth(self) -> int:
        """Depth of the tree of rules; 1 for a leaf."""

    @abstractmethod
    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """The rule without some estimands; None when nothing is left.

        Raises:
            ValueError: when a `count` would lose sub-rules.
        """

    @abstractmethod
    def numbers(self) -> Numbers:
        """Registered numbers that its clauses name."""


class LeafRule(Rule):
    """A rule that reads one estimand.

    Class attributes:
        reads: the kind of estimate that it reads.
        two_sided: whether the interval must be between two borders.
        claims_no_effect: whether confirmation means that an effect is absent, so that cells alike confirm it.
    """

    reads: ClassVar[Reads] = "number"
    two_sided: ClassVar[bool] = False
    claims_no_effect: ClassVar[bool] = False

    estimand: Name
    # Omitted from files when it is null. Documents require it.
    rationale: Text | None = Field(
        default=None, exclude_if=lambda text: text is None, description="why its numbers have this size"
    )

    @abstractmethod
    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:
        """The decision for a defined estimate.

        Args:
            value, low, high: value and interval of the estimate; never null.
            estimate: the estimate, for rules that read its steps.
        """

    @abstractmethod
    def borders(self) -> tuple[float, ...]:
        """Numbers at which the outcome changes. For a rule that reads pooled half-widths, in half-widths."""

    def border(self, confirming: bool, truth: float) -> float | None:  # noqa: ARG002
        """The true value at which confirmation, or refutation, begins; None leaves simulated values where they are.

        Args:
            confirming: the border of confirmation, or that of refutation.
            truth: the true value in the scenario that expects confirmation. It matters if there are several borders.

        Returns:
            A value; for curves and trends, a change from first to last; for pooled curves, that in half-widths.
        """
        return None

    def stated(self) -> tuple[float, ...]:
        """Borders that must be in the range of the estimand."""
        return self.borders() if self.reads == "number" else ()

    @property
    def reads_interval(self) -> bool:
        """Whether the rule reads the interval of its estimand, or only the value."""
        return True

    def interval_alpha(self, study: float) -> float:
        """1 minus the level of the interval that it reads, before corrections for multiplicity.

        Args:
            study: 1 minus the confidence level of the study. A rule with an α of its own does not use it.
        """
        return study

    def leaves(self) -> Iterator[LeafRule]:
        """The rule itself."""
        yield self

    def depth(self) -> int:
        """1."""
        return 1

    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """The rule itself; None when its estimand is withdrawn."""
        return None if self.estimand in withdrawn else self


if TYPE_CHECKING:
    AnyRule = Rule
else:
    AnyRule = "AnyRule"


class Combination(Rule):
    """A rule that combines the outcomes of others."""

    of: tuple[AnyRule, ...] = Field(min_length=1)

    @property
    @abstractmethod
    def needed(self) -> tuple[int, int]:
        """The numbers of confirmed sub-rules that confirm it, and of refuted sub-rules that refute it."""

    def combine(self, outcomes: Sequence[str]) -> Decision:
        """The decision, given the outcomes of its sub-rules."""
        (confirmed, refuted), (confirm, refute) = count(outcomes), self.needed
        return Decision(confirmed >= confirm, refuted >= refute)

    def numbers(self) -> Numbers:
        """The number of sub-rules."""
        return {"n": len(self.of)}

    def leaves(self) -> Iterator[LeafRule]:
        """The leaves of all sub-rules."""
        for part in self.of:
            yield from part.leaves()

    def depth(self) -> int:
        """One more than its deepest sub-rule."""
        return 1 + max(part.depth() for part in self.of)

    def remaining(self, withdrawn: Collection[str]) -> Rule | None:
        """The rule without the sub-rules that read withdrawn estimands."""
        left = tuple(kept for part in self.of if (kept := part.remaining(withdrawn)) is not None)
        return self.model_copy(update={"of": left}) if left else None


def count(outcomes: Sequence[str]) -> tuple[int, int]:
    """The numbers of confirmed and of refuted outcomes."""
    return outcomes.count("confirmed"), outcomes.count("refuted")
