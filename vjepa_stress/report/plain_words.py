"""Estimands and rules in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from vjepa_stress.prereg.rules import (
    AllOf,
    AnyOf,
    Condition,
    Count,
    Difference,
    Estimand,
    Jumps,
    Maximum,
    Mean,
    Pearson,
    RatioOfMeans,
    Rule,
    Spearman,
    Trend,
    Where,
)
from vjepa_stress.report.grouping import listed
from vjepa_stress.verdict.judge import in_words


def estimand_in_words(estimand: Estimand) -> str:
    """What number an estimand is, over which cells, with which interval."""
    return f"{_number(estimand)}; interval: {estimand.interval}"


def _number(estimand: Estimand) -> str:
    match estimand:
        case Mean():
            return f"mean {estimand.metric} over {where_in_words(estimand.where)}"
        case RatioOfMeans():
            numerator, denominator = where_in_words(estimand.numerator), where_in_words(estimand.denominator)
            return f"mean {estimand.metric} over {numerator}, divided by that over {denominator}"
        case Difference():
            of, minus = where_in_words(estimand.of), where_in_words(estimand.minus)
            return f"mean {estimand.metric} over {of}, minus that over {minus}"
        case Trend():
            return f"rank correlation of mean {estimand.metric} with strength, over {where_in_words(estimand.where)}"
        case Pearson():
            return f"Pearson correlation of {estimand.x} and {estimand.y} over {where_in_words(estimand.where)}"
        case Spearman():
            return f"rank correlation of {estimand.x} and {estimand.y} over {where_in_words(estimand.where)}"
        case Jumps():
            models = ", ".join(estimand.models)
            return f"changes of mean {estimand.metric} between models {models}, over {where_in_words(estimand.where)}"
        case Maximum():
            return f"largest absolute {estimand.metric} over {where_in_words(estimand.where)}"
        case _:
            assert_never(estimand)


def where_in_words(where: Where) -> str:
    """The cells of a filter; models left open are all subjects, whatever else is left open is not filtered."""
    said = [
        f"{factor} {', '.join(f'{one:g}' if isinstance(one, float) else str(one) for one in value)}"
        for factor, value in where
        if factor != "rows" and value is not None
    ]
    conditions = [_condition(condition) for condition in where.rows or ()]
    rows = [f"rows with {' and '.join(conditions)}"] if conditions else []
    return " · ".join([*said, *rows]) or "all cells of the subjects"


def _condition(condition: Condition) -> str:
    if condition.equals is not None:
        return f"{condition.column} = {condition.equals}"
    bounds = (("≥", condition.at_least), ("≤", condition.at_most))
    return " and ".join(f"{condition.column} {sign} {value:g}" for sign, value in bounds if value is not None)


def rule_in_words(rule: Rule) -> Iterator[str]:
    """What confirms and what refutes, one line a rule; parts that say the same of other estimands share a line."""
    if not isinstance(rule, Count | AllOf | AnyOf):
        yield f"{rule.estimand}: {in_words(rule)}"
        return
    alike: dict[str, list[Rule]] = {}
    for part in rule.of:
        alike.setdefault(in_words(part), []).append(part)
    # Where all parts are alike, the words of the whole say what each of them is.
    yield in_words(rule) if len(alike) == 1 else in_words(rule).partition(", each part: ")[0]
    if len(alike) > 1:
        for said, parts in alike.items():
            names = [part.estimand for part in parts if not isinstance(part, Count | AllOf | AnyOf)]
            yield f"  {listed(names) or f'{len(parts)} parts'}: {said}"
