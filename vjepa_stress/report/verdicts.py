"""Texts of verdicts: the clauses that fired, the levels and estimates that they read, and reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from vjepa_stress.prereg.document import Sequential
from vjepa_stress.report import numbers, words
from vjepa_stress.rules import RULES
from vjepa_stress.statistics.numerics.estimate import Estimate, Note
from vjepa_stress.verdict.evaluate import HypothesisVerdict
from vjepa_stress.verdict.judge import Verdict
from vjepa_stress.verdict.multiverse import agreement as agreement_of


def clause(verdict: Verdict, unit: str = "clip") -> str:
    """Description of the clause that fired."""
    exploratory = verdict.outcome.startswith("exploratory")
    outcomes = words.outcomes(exploratory)
    undefined = "; ".join(
        f"{name}: {words.noted(why, unit) or 'undefined'}" for name, why in _undefined(verdict).items()
    )
    if verdict.clause == "undefined":
        return f"undefined estimate: {undefined}"
    kind = RULES[verdict.kind]
    if verdict.estimand is None:
        counted = "{n_confirmed} {confirmed} and {n_refuted} {refuted} of {n}".format(**verdict.numbers, **outcomes)
        without = f"; the outcome does not depend on the undefined estimate: {undefined}" if undefined else ""
        return f"{verdict.kind}: {counted} ({words.needs(kind, verdict.numbers, exploratory)}){without}"
    text = kind.words[verdict.clause].format(
        estimand=verdict.estimand, **words.values_of(kind, verdict.numbers), **outcomes
    )
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


def agreement(one: HypothesisVerdict) -> str:
    """The number of alternatives with the same outcome as the verdict; empty if none applies."""
    agreeing, applied = agreement_of(one.verdict, one.alternatives)
    return f"{agreeing} of {words.counted(applied, 'alternative')} agree{'s' * (agreeing == 1)}" if applied else ""


def schedule(stopping: Sequential) -> str:
    """The registered looks of a study."""
    *earlier, last = map(str, stopping.looks)
    sources = f"{', '.join(earlier)} and {last}" if earlier else last
    return f"after {sources} sources of each data set"


def looks(one: HypothesisVerdict) -> str:
    """The registered looks, with their outcomes and the one that decided; empty if the study has one look."""
    outcomes = ", ".join(f"{look.outcome} after {look.sources}" for look in one.looks)
    return f"look after {words.counted(one.look, 'source')} ({outcomes})" if one.look is not None else ""


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
        changes = [words.change_of(step, write) for step in (*estimate.steps, estimate.overall)]
        whole = f"from first to last {changes.pop()}"
        return "; ".join([", ".join(changes) or write(estimate.value), whole]) + f", n = {estimate.n}"
    ends = "" if estimate.low == estimate.high else f" [{write(estimate.low)}, {write(estimate.high)}]"
    return f"{write(estimate.value)}{ends}, n = {estimate.n}"
