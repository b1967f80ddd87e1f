"""Grouping of estimands that differ only in levels, as one template and its levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vjepa_stress.design import Where
from vjepa_stress.report.words import listed
from vjepa_stress.statistics import Estimand

_Path = tuple[str, str]


@dataclass(frozen=True)
class Group:
    """Estimands with the same form.

    Attributes:
        names: names of the estimands, shortened.
        example: the estimand, or the template of several estimands, in which varying levels are `{factor}`.
        levels: the levels of the template, as text; empty for one estimand.
    """

    names: str
    example: Estimand
    levels: str = ""


def grouped(estimands: Mapping[str, Estimand]) -> list[Group]:
    """Group estimands that cover all combinations of some levels. All other estimands are their own groups."""
    forms: dict[tuple[object, ...], dict[str, Estimand]] = {}
    for name, estimand in estimands.items():
        forms.setdefault(_form(estimand), {})[name] = estimand
    groups = []
    for form in forms.values():
        template = _template(list(form.values())) if len(form) > 1 else None
        if template is None:
            groups += [Group(name, estimand) for name, estimand in form.items()]
        else:
            groups.append(Group(listed(list(form)), *template))
    return groups


def _form(estimand: Estimand) -> tuple[object, ...]:
    """Everything in an estimand except the single levels that its filters name."""
    rest = tuple(str(value) for name, value in estimand if not isinstance(value, Where))
    singles = tuple(_levels(estimand))
    others = tuple(
        (name, factor, str(value))
        for name, where in estimand.filter_fields.items()
        for factor, value in (*where.levels.items(), ("rows", where.rows))
        if (name, factor) not in singles
    )
    return (*rest, *singles, *others)


def _levels(estimand: Estimand) -> dict[_Path, Any]:
    """The single levels that the filters name, by filter and factor."""
    return {
        (name, factor): value[0]
        for name, where in estimand.filter_fields.items()
        for factor, value in where.levels.items()
        if len(value) == 1
    }


def _template(estimands: Sequence[Estimand]) -> tuple[Estimand, str] | None:
    """A template for estimands of one form; None if they do not cover all combinations of their levels."""
    rows = [_levels(estimand) for estimand in estimands]
    # Two filters that always name the same level share a variable.
    varying: dict[tuple[Any, ...], list[_Path]] = {}
    for path in rows[0]:
        column = tuple(row[path] for row in rows)
        if len(set(column)) > 1:
            varying.setdefault(column, []).append(path)
    combinations = set(zip(*varying, strict=True))
    if not math.prod(len(set(column)) for column in varying) == len(combinations) == len(estimands):
        return None
    example, levels = estimands[0], []
    for column, paths in varying.items():
        factor = paths[0][1]
        distinct = list(dict.fromkeys(column))
        ordered = sorted(distinct) if all(isinstance(level, float) for level in distinct) else distinct
        levels.append(f"{factor} {', '.join(map(_text, ordered))}")
        for name, varied in paths:
            where = getattr(example, name).at(varied, f"{{{factor}}}")
            example = example.model_copy(update={name: where})
    return example, f"; for each {' and '.join(levels)}"


def _text(level: object) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
