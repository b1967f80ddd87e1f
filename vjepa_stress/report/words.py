"""Texts for codes: verdicts, estimates, rules, findings, deviations.

The templates of a statistic or a rule are in its own file (`words`). All other texts are in this module. Nothing that
is hashed or compared depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from vjepa_stress.design import Condition, Design, Where
from vjepa_stress.digest import canonical_json
from vjepa_stress.prereg.lineage import Change
from vjepa_stress.report import numbers
from vjepa_stress.rules import RULES, Combination, LeafRule, Rule
from vjepa_stress.statistics import STATISTICS, Statistic
from vjepa_stress.statistics.numerics.estimate import Estimate, Method, Note, NoteCode, Step
from vjepa_stress.verdict.check import LEAST_SOURCES, Finding
from vjepa_stress.verdict.evaluate import HypothesisVerdict
from vjepa_stress.verdict.gate import Deviation
from vjepa_stress.verdict.judge import Verdict

OUTCOMES = {"confirmed": "confirmed", "refuted": "refuted", "ambiguous": "ambiguous"}
_EXPLORATORY = {"confirmed": "for", "refuted": "against", "ambiguous": "open"}
"""Outcomes in an exploratory result, which never uses the words of a verdict."""

METHODS: Mapping[Method, str] = {
    "expanded": "bootstrap over {units}, percentiles at an expanded level",
    "percentile": "percentile bootstrap over {units}",
    "bca": "BCa bootstrap over {units}",
    "fisher": "Fisher-z interval, pairs treated as independent",
    "student-t": "Student's t half-widths, pooled as √(h₁² + h₂²)",
    "max-t": "paired over {units}, simultaneous intervals by a bootstrap of the largest t",
    "gee": "generalised estimating equations, robust interval; {units} are clusters",
    "none": "no interval",
}

NOTES: Mapping[NoteCode, str] = {
    "too-few-units": "fewer than two {units} have a value",
    "too-few-pairs": "fewer than three pairs",
    "too-few-levels": "fewer than three levels",
    "too-few-groups": "fewer than two levels to compare",
    "constant": "a correlation with a constant is undefined",
    "no-value": "the statistic is undefined for these {units}",
    "no-value-in-resamples": "the statistic is undefined in {percent} of the resamples",
    "no-bias-correction": "the bias correction is undefined for these resamples",
    "undefined-values": "{value} undefined values of {columns}",
    "values-left-out": "{value} undefined values left out",
    "cells-missing": "{value} cells missing",
    "one-class": "all pairs are failures, or none is",
    "few-units": "fewer than {value} {units}",
    "no-fit": "the equations have no solution",
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


def _values(kind: type[Rule], values: Mapping[str, float | int | str]) -> dict[str, str]:
    """Registered numbers as text, and the texts that the rule has for values of its fields."""
    texts = {name: number(value) for name, value in values.items()}
    for key, text in kind.words.items():
        name, _, condition = key.partition(" ")
        field, _, value = condition.partition("=")
        if condition and values.get(field) == value:
            texts[name] = text
    return texts


def needs(kind: type[Rule], values: Mapping[str, float | int | str], exploratory: bool = False) -> str:
    """The number of sub-rules that a combination needs."""
    outcomes = _EXPLORATORY if exploratory else OUTCOMES
    return kind.words["needs"].format(**_values(kind, values), **outcomes)


def clause(verdict: Verdict, unit: str = "clip") -> str:
    """Description of the clause that fired."""
    exploratory = verdict.outcome.startswith("exploratory")
    outcomes = _EXPLORATORY if exploratory else OUTCOMES
    undefined = "; ".join(f"{name}: {noted(why, unit) or 'undefined'}" for name, why in _undefined(verdict).items())
    if verdict.clause == "undefined":
        return f"undefined estimate: {undefined}"
    kind = RULES[verdict.kind]
    if verdict.estimand is None:
        counted = "{n_confirmed} {confirmed} and {n_refuted} {refuted} of {n}".format(**verdict.numbers, **outcomes)
        without = f"; the outcome does not depend on the undefined estimate: {undefined}" if undefined else ""
        return f"{verdict.kind}: {counted} ({needs(kind, verdict.numbers, exploratory)}){without}"
    text = kind.words[verdict.clause].format(estimand=verdict.estimand, **_values(kind, verdict.numbers), **outcomes)
    return f"{verdict.kind}: {text}{_levels(verdict, outcomes)}"


def _undefined(verdict: Verdict) -> dict[str, tuple[Note, ...]]:
    """The undefined estimands of a verdict and of its parts, by name, with the reasons."""
    if verdict.estimand is not None:
        return {verdict.estimand: verdict.notes} if verdict.clause == "undefined" else {}
    found = {name: why for part in verdict.parts for name, why in _undefined(part).items()}
    return dict(sorted(found.items()))


def _levels(verdict: Verdict, outcomes: Mapping[str, str]) -> str:
    """The levels of the intervals that a leaf read, if they are not that of its hypothesis."""
    if verdict.levels is None:
        return ""
    levels = verdict.levels
    sides = [(outcomes["confirmed"], levels.confirm, levels.confirm_over)]
    sides += [(outcomes["refuted"], levels.refute, levels.refute_over)]
    texts = [
        f"at {numbers.level(level)}{f': Bonferroni over {over}' if over > 1 else ''}" for _, level, over in sides
    ]
    if texts[0] == texts[1]:
        return f" ({texts[0]})"
    return f" ({'; '.join(f'{outcome} {text}' for (outcome, _, _), text in zip(sides, texts, strict=True))})"


def not_specific(one: HypothesisVerdict) -> str:
    """The controls that pass the rule like the subjects; empty if none does."""
    if not one.not_specific:
        return ""
    names = ", ".join(one.not_specific)
    return (
        f"not specific: the control {names} passes too"
        if len(one.not_specific) == 1
        else (f"not specific: the controls {names} pass too")
    )


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


def reason(one: HypothesisVerdict, unit: str = "clip", changes: Mapping[str, str] | None = None) -> str:
    """The reason for the verdict on a hypothesis.

    Args:
        one: the verdict.
        unit: name of what is resampled, such as `clip`.
        changes: the authors' description of each amendment, by version.
    """
    if one.withdrawal is not None:
        description = (changes or {}).get(one.withdrawal.version, "")
        lost = " (Not all of its cells are in the design.)" if one.withdrawal.cells_lost else ""
        return f"withdrawn in {one.withdrawal.version}{f': {description}' if description else ''}{lost}"
    if one.gates:
        outcomes = ", ".join(f"{name} {outcome}" for name, outcome in one.gates.items())
        return f"a calibration gate failed: {outcomes}"
    return clause(one.decision, unit) if one.decision else ""


def status(one: HypothesisVerdict) -> str:
    """The verdict, and the withdrawn parts of the hypothesis."""
    parts = ", ".join(f"{one.id}.{name}" for name in one.withdrawn)
    return f"{one.verdict}; part {parts} withdrawn" if parts and one.verdict != "withdrawn" else one.verdict


def rule(one: Rule) -> str:
    """Conditions of confirmation and refutation, in registered numbers. Equal conditions appear once."""
    if isinstance(one, LeafRule):
        return _leaf_condition(one)
    if not isinstance(one, Combination):
        raise TypeError(f"neither a LeafRule nor a Combination: {one!r}")
    conditions = dict.fromkeys(_leaf_condition(leaf) for leaf in one.leaves())
    return f"{one.kind} of {len(one.of)} ({needs(type(one), one.numbers())}), each part: {'; or '.join(conditions)}"


def _leaf_condition(leaf: LeafRule) -> str:
    return leaf.words["condition"].format(estimand=leaf.estimand, **_values(type(leaf), leaf.numbers()), **OUTCOMES)


def explain(
    verdict: Verdict,
    estimates: Mapping[str, Estimate],
    write: Callable[[float], str] = "{:.6g}".format,
    at: Mapping[tuple[str, float], Estimate] | None = None,
) -> str:
    """Describe the clause that fired and those of all sub-rules, one line per rule.

    Args:
        verdict: result of `judge`.
        estimates: the estimates that `judge` was given.
        write: formats an estimate. Registered numbers keep the form of the draft.
        at: the estimates by name and level that `judge` was given; those that are missing are in `estimates`.
    """
    return "\n".join(_explained(verdict, estimates, write, at or {}, ""))


def _explained(
    verdict: Verdict,
    estimates: Mapping[str, Estimate],
    write: Callable[[float], str],
    at: Mapping[tuple[str, float], Estimate],
    indent: str,
) -> Iterator[str]:
    read = "".join(f"; {text}" for text in _read(verdict, estimates, write, at))
    yield f"{indent}{verdict.outcome}, {clause(verdict)}{read}"
    for part in verdict.parts:
        yield from _explained(part, estimates, write, at, indent + "  ")


def _read(
    verdict: Verdict,
    estimates: Mapping[str, Estimate],
    write: Callable[[float], str],
    at: Mapping[tuple[str, float], Estimate],
) -> Iterator[str]:
    """The estimates that a leaf read, each level once."""
    name, levels = verdict.estimand, verdict.levels
    if name is None:
        return
    if levels is None:
        yield f"{name} = {_shown(estimates[name], write)}"
        return
    for level in dict.fromkeys((levels.confirm, levels.refute)):
        yield f"{name} = {_shown(at.get((name, level), estimates[name]), write)} at {numbers.level(level)}"


def _shown(estimate: Estimate, write: Callable[[float], str]) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "undefined"
    if estimate.overall is not None:
        changes = [change_of(step, write) for step in (*estimate.steps, estimate.overall)]
        whole = f"from first to last {changes.pop()}"
        return "; ".join([", ".join(changes) or write(estimate.value), whole]) + f", n = {estimate.n}"
    ends = "" if estimate.low == estimate.high else f" [{write(estimate.low)}, {write(estimate.high)}]"
    return f"{write(estimate.value)}{ends}, n = {estimate.n}"


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
    "low-power": "in every scenario it is confirmed, or refuted, in at most {best} of the studies: use more units or "
    "another rule",
    "no-control": "no {factor} is a control: add an untrained twin or raw pixels to the same cells as a baseline",
    "multiplicity": "{n} hypotheses without a correction for multiplicity: give a reason, or use `bonferroni`",
    "no-calibration": "no calibration hypothesis: add an identity probe with a maximum to measure the noise floor",
    "no-scenarios": "no scenarios: the chance that the rules detect an effect is unknown",
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
    if one.code == "low-power":
        values["best"] = f"{float(one.values['best']):.0%}"
    own = STATISTICS[values["statistic"]].words if "statistic" in values else {}
    text = (own.get(one.code) or FINDINGS[one.code]).format(**values)
    if one.severity == "acknowledged":
        text = f"{text}. Acknowledged: {values['reason']}"
    elif one.severity == "warning":
        fix = (
            f"{{warning: {one.code}, hypothesis: {values['hypothesis']}, estimand: {values['estimand']}, reason: …}}"
        )
        text = f"{text}. Change the estimand, or add to `acknowledged`: {fix}"
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
    "failed-cell": ("failed cell", "{cell} failed at {at}: {error}"),
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
