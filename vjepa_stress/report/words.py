"""Texts for codes: verdicts, estimates, rules, findings, deviations.

The templates of a statistic or a rule are in its own file (`words`). All other texts are in this module. Nothing that
is hashed or compared depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from vjepa_stress.design import Condition, Design, Where
from vjepa_stress.digest import canonical_json
from vjepa_stress.prereg.alternatives import LEAST_RESAMPLES, Alternative
from vjepa_stress.prereg.lineage import Change
from vjepa_stress.rules import Combination, LeafRule, Rule
from vjepa_stress.statistics import STATISTICS, Statistic
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, NoteCode, Step
from vjepa_stress.verdict.check import LEAST_SOURCES, Finding
from vjepa_stress.verdict.gate import Deviation

OUTCOMES = {"confirmed": "confirmed", "refuted": "refuted", "ambiguous": "ambiguous"}
_EXPLORATORY = {"confirmed": "for", "refuted": "against", "ambiguous": "open"}
"""Outcomes in an exploratory result, which never uses the words of a verdict."""

METHODS: Mapping[Method, str] = {
    "expanded": "bootstrap over {units}, percentiles at an expanded level",
    "jackknife": "jackknife over {units}",
    "percentile": "percentile bootstrap over {units}",
    "bca": "BCa bootstrap over {units}",
    "fisher": "Fisher-z interval, pairs treated as independent",
    "student-t": "Student's t half-widths, pooled as √(h₁² + h₂²)",
    "max-t": "paired over {units}, simultaneous intervals by a bootstrap of the largest t",
    "gee": "generalised estimating equations, robust interval; {units} are clusters",
    "betting": "each {unit} averaged, then a confidence sequence by betting over {units} in their registered order",
    "none": "no interval",
}

NOTES: Mapping[NoteCode, str] = {
    "too-few-units": "fewer than two {units} have a value",
    "too-few-pairs": "fewer than three pairs",
    "too-few-levels": "fewer than three levels",
    "too-few-groups": "fewer than two levels to compare",
    "constant": "a correlation with a constant is undefined",
    "no-value": "the statistic is undefined for these {units}",
    "no-value-without-a-unit": "the statistic is undefined if one of {value} {units} is left out",
    "no-value-in-resamples": "the statistic is undefined in {percent} of the resamples",
    "no-bias-correction": "the bias correction is undefined for these resamples",
    "undefined-values": "{value} undefined values of {columns}",
    "values-left-out": "{value} undefined values left out",
    "cells-missing": "{value} cells missing",
    "one-class": "all pairs are failures, or none is",
    "few-units": "fewer than {value} {units}",
    "no-fit": "the equations have no solution",
    "out-of-range": "a value is outside the range of its metric",
    "no-mean-left": "no mean is compatible with the values of all {units} in their order",
}


def note(one: Note, unit: str = "clip") -> str:
    """A note on an estimate, as text."""
    value = 0.0 if one.value is None else one.value
    return NOTES[one.code].format(
        unit=unit, units=f"{unit}s", value=f"{value:.0f}", percent=f"{value:.2%}", columns=" or ".join(one.columns)
    )


def noted(several: Iterable[Note], unit: str = "clip") -> str:
    """Notes as one line of text."""
    return "; ".join(note(one, unit) for one in several)


def notes(estimate: Estimate, unit: str = "clip") -> str:
    """All notes on an estimate, as one line of text."""
    return noted(estimate.notes, unit)


def method(estimate: Estimate, unit: str = "clip") -> str:
    """The method of an estimate's interval."""
    pairs = f"{estimate.pairs} pairs; " if estimate.pairs is not None else ""
    return pairs + METHODS[estimate.method].format(unit=unit, units=f"{unit}s")


def estimand(one: Statistic) -> str:
    """Description of an estimand, without its filters."""
    return one.words["of"].format(**_field_texts(one))


def beside(one: Statistic) -> str:
    """Label of an estimand that is printed beside another."""
    return one.words["beside"]


def estimand_over(one: Statistic) -> str:
    """Description of an estimand with its cells and its interval."""
    over = one.words.get("over") or one.words["of"] + " over " + " and ".join(map(where, one.filters()))
    return f"{over.format(**_field_texts(one))}; interval: {one.interval}"


def _field_texts(one: Statistic) -> dict[str, str]:
    """The fields of an estimand as text."""
    return {
        name: where(value)
        if isinstance(value, Where)
        else ", ".join(map(number, value))
        if isinstance(value, tuple)
        else str(value)
        for name, value in dict(one).items()
    }


def where(one: Where) -> str:
    """The cells that a filter selects. A factor that is not named is not filtered, or has its default levels."""
    levels = [f"{factor} {', '.join(map(number, chosen))}" for factor, chosen in one.levels.items()]
    conditions = [_condition(condition) for condition in one.rows or ()]
    rows = [f"rows with {' and '.join(conditions)}"] if conditions else []
    return " · ".join([*levels, *rows]) or "all cells of the subjects"


def _condition(condition: Condition) -> str:
    if condition.equals is not None:
        return f"{condition.column} = {condition.equals}"
    bounds = (("≥", condition.at_least), ("≤", condition.at_most))
    return " and ".join(f"{condition.column} {sign} {value:g}" for sign, value in bounds if value is not None)


def rule_lines(one: Rule) -> Iterator[str]:
    """Conditions of confirmation and refutation, one line per rule.

    Parts that have the same condition on different estimands share a line.
    """
    if isinstance(one, LeafRule):
        yield f"{one.estimand}: {rule(one)}"
        return
    if not isinstance(one, Combination):
        raise TypeError(f"neither a LeafRule nor a Combination: {one!r}")
    alike: dict[str, list[Rule]] = {}
    for part in one.of:
        alike.setdefault(rule(part), []).append(part)
    # If all parts have the same condition, the line of the combination includes it.
    yield rule(one) if len(alike) == 1 else rule(one).partition(", each part: ")[0]
    if len(alike) > 1:
        for condition, parts in alike.items():
            names = [part.estimand for part in parts if isinstance(part, LeafRule)]
            yield f"  {listed(names) or f'{len(parts)} parts'}: {condition}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names separated by commas. Of more than `most` names, the first ones and the number of all."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)})"


def number(value: float | int | str) -> str:
    """A registered number, as it was written in the draft."""
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def values_of(kind: type[Rule], values: Mapping[str, float | int | str]) -> dict[str, str]:
    """Registered numbers as text, and the texts that the rule has for values of its fields."""
    texts = {name: number(value) for name, value in values.items()}
    for key, text in kind.words.items():
        name, _, condition = key.partition(" ")
        field, _, value = condition.partition("=")
        if condition and values.get(field) == value:
            texts[name] = text
    return texts


def outcomes(exploratory: bool = False) -> Mapping[str, str]:
    """The words for the outcomes, by code."""
    return _EXPLORATORY if exploratory else OUTCOMES


def needs(kind: type[Rule], values: Mapping[str, float | int | str], exploratory: bool = False) -> str:
    """The number of sub-rules that a combination needs."""
    return kind.words["needs"].format(**values_of(kind, values), **outcomes(exploratory))


def rationales(one: Rule) -> list[str]:
    """Why the numbers of a rule have their size; leaves with the same reason share a line."""
    alike: dict[str, dict[str, None]] = {}
    for leaf in one.leaves():
        alike.setdefault(leaf.rationale or "", {})[leaf.estimand] = None
    alike.pop("", None)
    return list(alike) if len(alike) == 1 else [f"{listed(list(names))}: {why}" for why, names in alike.items()]


WITHIN: Mapping[str, str] = {
    "adjusted": "corrected for the number of sub-rules (intersection–union or Bonferroni)",
    "none": "not corrected for the number of sub-rules",
}
"""Texts for `Analysis.within_hypothesis`."""


def rule(one: Rule) -> str:
    """Conditions of confirmation and refutation, in registered numbers. Equal conditions appear once."""
    if isinstance(one, LeafRule):
        return _leaf_condition(one)
    if not isinstance(one, Combination):
        raise TypeError(f"neither a LeafRule nor a Combination: {one!r}")
    conditions = dict.fromkeys(_leaf_condition(leaf) for leaf in one.leaves())
    return f"{one.kind} of {len(one.of)} ({needs(type(one), one.numbers())}), each part: {'; or '.join(conditions)}"


def _leaf_condition(leaf: LeafRule) -> str:
    return leaf.words["condition"].format(estimand=leaf.estimand, **values_of(type(leaf), leaf.numbers()), **OUTCOMES)


def alternative(one: Alternative) -> str:
    """Description of an alternative, without its name."""
    without = f"without each source in turn (with fewer resamples, at least {LEAST_RESAMPLES} each)"
    texts = {
        f"interval {one.interval}": one.interval,
        f"level {one.level}": one.level,
        f"statistic {one.statistic}": one.statistic,
        f"only {where(one.where or Where())}": one.where,
        f"bootstrap seed {one.seed}": one.seed,
        without: one.leave_one_source_out or None,
    }
    return ", ".join(text for text, given in texts.items() if given is not None)


def under_alternative(outcome: str | None) -> str:
    """The outcome of a rule under an alternative."""
    return {None: "does not apply", "differs": "depends on the source left out"}.get(outcome) or str(outcome)


def change_of(step: Step, write: Callable[[float], str] = "{:.6g}".format) -> str:
    """A change with its interval, or with its pooled half-width if it has no interval."""
    if step.low is not None and step.high is not None:
        return f"{write(step.value)} [{write(step.low)}, {write(step.high)}]"
    half = "" if step.half_width is None else f" (pooled half-width {write(step.half_width)})"
    return f"{write(step.value)}{half}"


FINDINGS = {
    "no-row": "no row can meet the conditions of the filter: {column} is in [{low}, {high}]",
    "out-of-range": "{kind} has a border at {border}, but the estimand is in [{low}, {high}]",
    "overlapping": "one estimate is both confirmed and refuted",
    "vacuous": "the verdict is {outcome} for every possible result",
    "unreachable": "no possible result is {outcome}",
    "moved-positions": "{column} compares positions, but content moves under {moving}{instead}",
    "too-few-clips": "with {sources} sources, its interval fits into [{low}, {high}] only if the standard deviation "
    "between sources is {largest} or less",
    "too-few-sources": "the rule reads its interval, but {stratum} has {sources} sources, and intervals need at "
    "least {least}: use more sources, or leave {stratum} out of the rule; a report shows it as a case study",
    "mixes-cells": "it pools {cells} cells, so that differences between cells, such as dose, count as association; "
    "`within_cell` centres both metrics in each cell",
    "constant": "its verdict is the same in every simulated study: add a scenario in which it should differ",
    "low-level": "the confidence level is {level}: use {least} or more",
    "hardly-fails": "the rule confirms {p} of all values in [{low}, {high}]: choose numbers that a result can miss",
    "duplicate-part": "`{kind}` has {times} equal parts, which read the same number: keep one of them",
    "selected-on-outcome": "its filter selects rows by {column}, which it reads: select rows by another column",
    "no-scenarios": "no scenarios: add `operating_characteristics`, as in the draft that `vjepa-stress new` writes",
    "few-studies": "`{field}` is {found}: with fewer than {least}, Monte-Carlo error hides false verdicts",
    "no-confirming-scenario": "no scenario expects it confirmed: add `expects: {{{hypothesis}: confirmed}}` to one",
    "no-refuting-scenario": "no scenario expects it refuted: add `expects: {{{hypothesis}: refuted}}` to one",
    "confirmed-where-refuted": "confirmed in {p} of the studies of {scenario}, which expects its refutation; at most "
    "{cap} are allowed: use a stricter rule, or a scenario that contradicts the claim",
    "refuted-where-confirmed": "refuted in {p} of the studies of {scenario}, which expects its confirmation; at most "
    "{cap} are allowed: use another rule, more units, or a scenario that agrees with the claim",
    "confirmed-by-null": "confirmed in {p} of the studies in which all cells are alike; at most {cap} are allowed",
    "confirmed-by-shuffled": "confirmed in {p} of the studies with shuffled cells and units; at most {cap} are "
    "allowed",
    "confirmed-by-noise": "confirmed in {p} of the studies in which all values are uniform noise; expected: {cap} or "
    "less",
    "confirmed-by-dose": "confirmed in {p} of the studies in which every metric depends only on the numeric factor; "
    "expected: {cap} or less",
    "low-power": "confirmed in {p} of the studies of {scenario}, and in less than {wanted} at every simulated size: "
    "use another rule, or many more units",
    "more-units": "confirmed in {p} of the studies of {scenario}; {wanted} or more with {units} units",
    "rarely-refuted": "refuted in {p} of the studies of {scenario}, which expects its refutation; {wanted} or more "
    "are expected: use another rule, more units, or a scenario that is further from the claim",
    "not-severe": "confirmed in {p} of the studies in which the truth is at the border of refutation; expected: "
    "{cap} or less: use intervals that hold at the border, or other borders",
    "no-control": "no {factor} is a control: add an untrained twin or raw pixels to the same cells as a baseline",
    "multiplicity": "{n} hypotheses without a correction for multiplicity: give a reason, or use `bonferroni`",
    "few-alternatives": "`sensitivity` has {n} alternatives, which show whether a verdict depends on the analysis: "
    "register {least} or more",
    "no-calibration": "no calibration hypothesis: add an identity probe with a maximum to measure the noise floor",
}


def stratum(name: str, design: Design) -> str:
    """The numbers of units and sources of a stratum, and whether its data are a case study."""
    units, sources = design.count_units(name), design.count_sources(name)
    few = f": a case study, because intervals need {LEAST_SOURCES} sources" if sources < LEAST_SOURCES else ""
    return f"{name} has {counted(units, design.unit)} of {counted(sources, 'source')}{few}"


def counted(many: int, noun: str) -> str:
    """A number with a noun in the singular or plural."""
    return f"{many} {noun}" + ("" if many == 1 else "s")


def finding(one: Finding) -> str:
    """A finding as one line of text."""
    values = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in one.values.items()}
    if one.code == "moved-positions":
        values["instead"] = f"; {values['aligned']} aligns positions first" if values.get("aligned") else ""
    values |= {name: f"{float(one.values[name]):.0%}" for name in ("p", "cap", "wanted") if name in values}
    own = STATISTICS[values["statistic"]].words if "statistic" in values else {}
    text = (own.get(one.code) or FINDINGS[one.code]).format(**values)
    if one.severity == "acknowledged":
        text = f"{text}. Acknowledged: {values['reason']}"
    elif one.severity == "warning":
        named = "".join(f", {name}: {values[name]}" for name in ("hypothesis", "estimand") if name in values)
        fix = f"{{warning: {one.code}{named}, reason: …}}"
        text = f"{text}. Change the draft, or add to `acknowledged`: {fix}"
    return f"{one.severity} ({one.code}) {one.where}: {text}"


DEVIATIONS: Mapping[str, tuple[str, str]] = {
    "amendment": (
        "amendment",
        "{version} at {at} (ledger line {line}), after {launches} and {looks}. Changed: {changed}",
    ),
    "withdrawal": (
        "withdrawal",
        "{version} at {at} (ledger line {line}), after {launches} and {looks}. Changed: {changed}",
    ),
    "cells-out-of-design": (
        "cells outside the design",
        "{n} cells computed under an earlier version are not judged: {cells}",
    ),
    "exploratory-run": (
        "exploratory run",
        "launch at {at} (ledger line {line}): cells outside the design were computed",
    ),
    "uncommitted-code": ("uncommitted code", "launch at {at} (ledger line {line}): code {code}"),
    "changed-code": ("changed code", "launch at {at} (ledger line {line}): code {code}"),
    "other-attempt": ("other attempt", "attempt {attempt} ({state}) is not judged"),
    "failed-cell": ("failed cell", "{cells} at {unit}, {at}: {error}"),
    "pinned-late": ("pinned late", "{kind} of {name}: pinned by the first launch"),
}
"""Name and text of each deviation."""


def deviation(one: Deviation, changes: Mapping[str, Sequence[Change]] | None = None) -> tuple[str, str]:
    """Name of a deviation, and a sentence that describes it.

    Args:
        one: the deviation.
        changes: the changes of each amendment and withdrawal, by version; without them only their paths are named.
    """
    values: dict[str, str] = {name: _listed(value) for name, value in one.values.items()}
    if one.code in ("amendment", "withdrawal"):
        values["launches"] = _times(one.values["launches"], "launch", "launches")
        values["looks"] = _times(one.values["looks"], "look", "looks")
        if changes is not None:
            values["changed"] = _listed(tuple(map(change, changes[values["version"]])))
        values["changed"] = values["changed"] or "only the description of the amendment"
    cells = one.values.get("cells")
    if isinstance(cells, tuple):
        values["n"] = str(len(cells))
    name, text = DEVIATIONS[one.code]
    return name, text.format(**values, line=one.line, at=one.at)


def _listed(value: str | int | tuple[str, ...]) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join(value[:5]) + (f", … ({len(value)} in all)" if len(value) > 5 else "")


def _times(count: object, singular: str, plural: str) -> str:
    return f"{count} {singular if count == 1 else plural}"


OBJECTIONS: Mapping[str, str] = {
    "CellsIncomplete": "the stored cells are not exactly the registered cells, or the attempt is not completed",
    "RunBeforeRegistration": "a launch precedes the registration of the study or of its amendment",
    "CodeChanged": "cells were computed by code other than the launched code",
    "RowsMissing": "a shard does not have one row for each registered unit",
    "FlaggedValues": "a shard holds non-finite values, or values outside the range of their metric",
}
"""Why a result is exploratory, by the class of the error that the gate collected."""


def change(one: Change) -> str:
    """A difference between two documents, as text."""
    if one.kind == "new":
        return f"{one.path} is new"
    if one.kind == "withdrawn":
        return f"{one.path} withdrawn"
    if one.kind == "active-again":
        return f"{one.path}: withdrawn in the registration, active in the draft"
    if one.kind == "not-there":
        return f"{one.path} is not in the draft"
    if one.kind == "invalid":
        return f"{one.path}: invalid in the draft"
    if one.kind in ("added", "removed"):
        cells = one.after if one.kind == "added" else one.before
        return f"{len(cells)} cells {one.kind}: {', '.join(cells[:5])}{', …' if len(cells) > 5 else ''}"
    return f"{one.path}: {_shown_json(one.before)} → {_shown_json(one.after)}"


def _shown_json(value: object) -> str:
    return "nothing" if value is None else canonical_json(value).decode()
