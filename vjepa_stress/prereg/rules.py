"""Estimands and decision rules as data: what number is computed on which cells, and what it decides.

Both are closed discriminated unions. Nothing here computes; `vjepa_stress.verdict` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.fields import Finite, Frozen, Name

Strength = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
"""Strength of a perturbation."""


class Condition(Frozen):
    """Which rows of a shard: those whose value in a column lies in a range, or equals a value.

    A row that has no value in the column fulfils no condition.
    """

    column: Name
    at_least: Finite | None = None
    at_most: Finite | None = None
    equals: bool | Finite | str | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        bounded = self.at_least is not None or self.at_most is not None
        if bounded == (self.equals is not None):
            raise ValueError(f"a condition on {self.column} is either `equals` or `at_least` and `at_most`")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"no {self.column} is at least {self.at_least} and at most {self.at_most}")
        return self


class Where(Frozen):
    """Which cells of the design. A field left null does not filter; models left null are all subjects.

    `rows` filters further, on columns of the shards: a row must fulfil every condition.
    """

    dataset: tuple[Name, ...] | None = Field(default=None, min_length=1)
    model: tuple[Name, ...] | None = Field(default=None, min_length=1)
    perturbation: tuple[Name, ...] | None = Field(default=None, min_length=1)
    strength: tuple[Strength, ...] | None = Field(default=None, min_length=1)
    # Left out of files where it says nothing: verdicts written before it existed stay what they are.
    rows: tuple[Condition, ...] | None = Field(default=None, min_length=1, exclude_if=lambda rows: rows is None)


Resampled = Literal["percentile", "bca"]
"""Bootstrap over clips: ends at the percentiles of the resamples, or those bias-corrected and accelerated."""


class Mean(Frozen):
    """Mean of a metric over all (clip, cell) pairs of a filter; bootstrap over clips."""

    statistic: Literal["mean"]
    metric: Name
    where: Where
    interval: Resampled = "percentile"


class RatioOfMeans(Frozen):
    """Mean of one filter divided by mean of another on the same clips; paired bootstrap."""

    statistic: Literal["ratio_of_means"]
    metric: Name
    numerator: Where
    denominator: Where
    interval: Resampled = "percentile"


class Difference(Frozen):
    """Mean of one filter minus mean of another on the same clips; paired bootstrap."""

    statistic: Literal["difference"]
    metric: Name
    of: Where
    minus: Where
    interval: Resampled = "percentile"

    @model_validator(mode="after")
    def _two_filters(self) -> Self:
        if self.of == self.minus:
            raise ValueError("a filter minus itself is 0")
        return self


class Trend(Frozen):
    """Spearman correlation of cell means with strength; bootstrap over clips.

    Cells that share a strength are pooled into one mean.
    """

    statistic: Literal["trend"]
    metric: Name
    where: Where
    interval: Resampled = "percentile"


class _Correlation(Frozen):
    """Two metrics over the pairs of a filter."""

    x: Name
    y: Name
    where: Where

    @model_validator(mode="after")
    def _two_metrics(self) -> Self:
        if self.x == self.y:
            raise ValueError(f"{self.x} would correlate with itself")
        return self


class Pearson(_Correlation):
    """Pearson correlation of two metrics over all (clip, cell) pairs of a filter.

    `fisher` takes pairs for independent, which pairs of one clip are not; `cluster` resamples whole clips.
    """

    statistic: Literal["pearson"]
    interval: Literal["fisher", "cluster"] = "fisher"


class Spearman(_Correlation):
    """Spearman correlation of two metrics over all (clip, cell) pairs of a filter; bootstrap of whole clips."""

    statistic: Literal["spearman"]
    interval: Literal["cluster"] = "cluster"


class Jumps(Frozen):
    """What a metric gains from each model of an ordered list to the next, averaged over the filter a clip first.

    Each model's mean has Student's t half-width; a jump has both of them pooled, √(h₁² + h₂²), and beside it the
    paired interval over the clips that both models have.
    """

    statistic: Literal["jumps"]
    metric: Name
    models: tuple[Name, ...] = Field(min_length=2)
    where: Where
    interval: Literal["t"] = "t"

    @model_validator(mode="after")
    def _models_in_one_place(self) -> Self:
        if self.where.model is not None:
            raise ValueError("`models` says which models, in order: leave `model` out of the filter")
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"each model has one place in the order: {', '.join(self.models)}")
        return self


class Maximum(Frozen):
    """Largest absolute value of a metric over all clips and cells of a filter: a noise floor, without interval."""

    statistic: Literal["maximum"]
    metric: Name
    where: Where
    interval: Literal["none"] = "none"


Estimand = Annotated[
    Mean | RatioOfMeans | Difference | Trend | Pearson | Spearman | Jumps | Maximum,
    Field(discriminator="statistic"),
]


def filters(estimand: Estimand) -> tuple[Where, ...]:
    """The filters of an estimand, in the order its statistic reads them."""
    if isinstance(estimand, RatioOfMeans):
        return (estimand.numerator, estimand.denominator)
    if isinstance(estimand, Difference):
        return (estimand.of, estimand.minus)
    if isinstance(estimand, Jumps):
        return tuple(estimand.where.model_copy(update={"model": (name,)}) for name in estimand.models)
    return (estimand.where,)


def metrics(estimand: Estimand) -> tuple[Name, ...]:
    """The shard columns that an estimand computes with, in the order its statistic reads them."""
    return (estimand.x, estimand.y) if isinstance(estimand, Pearson | Spearman) else (estimand.metric,)


class Band(Frozen):
    """Interval inside [low, high]: confirmed; interval and band disjoint: refuted; else ambiguous."""

    kind: Literal["band"]
    estimand: Name
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: nothing could be confirmed")
        return self


class Threshold(Frozen):
    """At or beyond `confirm_at`: confirmed; short of `refute_at`: refuted; between: ambiguous.

    With `use: interval` the whole interval must be there; with `use: point` the estimate alone decides.
    """

    kind: Literal["threshold"]
    estimand: Name
    direction: Literal["above", "below"]
    confirm_at: Finite
    refute_at: Finite
    use: Literal["point", "interval"]

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        overlapping = (
            self.refute_at > self.confirm_at if self.direction == "above" else self.refute_at < self.confirm_at
        )
        if overlapping:
            raise ValueError(
                f"confirmed (from {self.confirm_at} {self.direction}) and refuted (short of {self.refute_at}) overlap"
            )
        return self


class Equivalence(Frozen):
    """Interval inside ±margin: confirmed; interval and ±margin disjoint: refuted; else ambiguous.

    At a level of 95 % this is two one-sided tests at α = 0.025 each (Schuirmann 1987).
    """

    kind: Literal["equivalence"]
    estimand: Name
    margin: float = Field(gt=0, allow_inf_nan=False)


class Monotone(Frozen):
    """A curve over ordered models, read from `jumps`: it should fall (or rise) all the way, beyond noise.

    A jump against the order by more than `noise` pooled half-widths: refuted. No such jump, and a change from first
    to last model along the order by more than `noise` pooled half-widths: confirmed. Else ambiguous, so that a study
    too small to see anything confirms nothing.
    """

    kind: Literal["monotone"]
    estimand: Name
    order: Literal["falling", "rising"]
    noise: float = Field(gt=0, allow_inf_nan=False, description="in pooled half-widths √(h₁² + h₂²)")


class Count(Frozen):
    """Confirmed when enough of several sub-rules confirm, refuted when enough of them refute, else ambiguous."""

    kind: Literal["count"]
    of: tuple[Rule, ...] = Field(min_length=1)
    confirm_at_least: int = Field(ge=1)
    refute_at_least: int = Field(ge=1)

    @model_validator(mode="after")
    def _exclusive(self) -> Self:
        n = len(self.of)
        if max(self.confirm_at_least, self.refute_at_least) > n:
            raise ValueError(f"there are only {n} sub-rules: a count above {n} can never be reached")
        if self.confirm_at_least + self.refute_at_least <= n:
            raise ValueError(
                f"with {n} sub-rules, {self.confirm_at_least} could confirm while {self.refute_at_least} refute: "
                f"the two counts must sum to more than {n}"
            )
        return self


class AllOf(Frozen):
    """Any refuted: refuted; all confirmed: confirmed; else ambiguous."""

    kind: Literal["all_of"]
    of: tuple[Rule, ...] = Field(min_length=1)


class AnyOf(Frozen):
    """Any confirmed: confirmed; all refuted: refuted; else ambiguous."""

    kind: Literal["any_of"]
    of: tuple[Rule, ...] = Field(min_length=1)


Leaf = Band | Threshold | Equivalence | Monotone
"""Rules that read an estimand."""

Rule = Annotated[Leaf | Count | AllOf | AnyOf, Field(discriminator="kind")]
Count.model_rebuild()
AllOf.model_rebuild()
AnyOf.model_rebuild()


def leaves(rule: Rule) -> Iterator[Leaf]:
    """The rules at the ends of the tree, those that read an estimand."""
    if isinstance(rule, Count | AllOf | AnyOf):
        for part in rule.of:
            yield from leaves(part)
    else:
        yield rule


def depth(rule: Rule) -> int:
    """Levels of a rule; one that reads an estimand has one."""
    return 1 + max((depth(part) for part in rule.of), default=0) if isinstance(rule, Count | AllOf | AnyOf) else 1


def reads_interval(leaf: Leaf) -> bool:
    """Whether a rule reads the interval of its estimand, and not the value alone."""
    return not isinstance(leaf, Threshold) or leaf.use == "interval"


def remaining(rule: Rule, withdrawn: Collection[str]) -> Rule | None:
    """What is left of a rule without some estimands; None when nothing is.

    Raises:
        ValueError: when a count would lose sub-rules: its two numbers were chosen for as many as it has.
    """
    if isinstance(rule, AllOf | AnyOf):
        left = tuple(part for part in (remaining(part, withdrawn) for part in rule.of) if part is not None)
        return rule.model_copy(update={"of": left}) if left else None
    lost = sorted({leaf.estimand for leaf in leaves(rule)} & set(withdrawn))
    if isinstance(rule, Count):
        if lost:
            raise ValueError(
                f"{', '.join(lost)} is counted with others, and without it the counts mean something else: "
                "an amendment must restate them"
            )
        return rule
    return None if lost else rule
