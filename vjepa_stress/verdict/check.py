"""What can be known to be wrong with a preregistration before any data: rules that cannot decide, metrics that
cannot mean what a claim needs, too few clips.

Every rule is put to estimates at, between and beyond all of its borders. Its borders are all that its verdict depends
on, so that these estimates stand for every possible one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise, product
from typing import Any, Literal, get_args

from scipy import stats

from vjepa_stress.errors import BadDocument
from vjepa_stress.ledger import Viewed
from vjepa_stress.prereg.document import (
    CALIBRATION,
    Acknowledged,
    Hypothesis,
    Preregistration,
    VideoDesign,
    Warned,
    meaning,
)
from vjepa_stress.prereg.rules import (
    AllOf,
    AnyOf,
    Band,
    Count,
    Difference,
    Equivalence,
    Estimand,
    Jumps,
    Leaf,
    Maximum,
    Mean,
    Monotone,
    Pearson,
    RatioOfMeans,
    Resampled,
    Rule,
    Spearman,
    Trend,
    Where,
    filters,
    leaves,
    metrics,
    reads_interval,
)
from vjepa_stress.prereg.scenarios import Pilot, Plan
from vjepa_stress.prereg.schema import validate
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.answer import Estimate, Step
from vjepa_stress.verdict.gate import gate
from vjepa_stress.verdict.judge import combined, outcome_of, regions
from vjepa_stress.verdict.power import constant_rules, operating_characteristics
from vjepa_stress.verdict.table import Table

Severity = Literal["error", "warning", "acknowledged", "suggestion"]
Vector = tuple[str, ...]
"""What all the leaves that read one estimand say of one estimate of it."""

_STRENGTHS = 3
"""A trend over fewer strengths than this has no order to speak of."""

_CLIPS = 10
"""Resampling fewer clips than this gives intervals that are too narrow."""

_SPREAD = 0.02
"""A band that fits only a between-clip deviation below this share of the metric's range is warned of."""


@dataclass(frozen=True)
class Finding:
    """Something `check` has to say.

    Attributes:
        severity: errors, and warnings until they are acknowledged, keep a draft from being registered.
        code: what kind of finding.
        where: hypothesis or estimand.
        what: what is wrong, and what to do.
    """

    severity: Severity
    code: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.severity} ({self.code}) {self.where}: {self.what}"

    @property
    def blocks(self) -> bool:
        """Whether it stands in the way of registering."""
        return self.severity in {"error", "warning"}


def check(document: Preregistration, *, planned: bool = False) -> tuple[Finding, ...]:
    """Everything to say of a document, errors first.

    Args:
        planned: its scenarios are still to be simulated.

    The form (known cells, unique ids, declared multiplicity, borders in order) was checked when it was read.
    """
    judged = [hypothesis.judged for hypothesis in document.hypotheses]
    found = [finding for one in judged if one is not None for finding in _hypothesis(document, one)]
    found += [*_powerless(document), *_suggestions(document, planned)]
    order = ("error", "warning", "acknowledged", "suggestion")
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def with_chances(document: Preregistration, plan: Any, root: StudyRoot, workers: int = 1) -> Preregistration:
    """The document with its operating characteristics, simulated now.

    Args:
        plan: what the draft says of scenarios, as it was read.
        root: where the studies are that scenarios take as pilots.
        workers: processes; the result does not depend on it.

    Raises:
        BadDocument: when a scenario is no valid one, or its pilot is not the one it names.
    """
    scenarios = validate(Plan, plan, "operating_characteristics")
    pilots = {name: _pilot(root, one) for name, one in scenarios.scenarios.items() if isinstance(one, Pilot)}
    chances = operating_characteristics(document, scenarios, pilots, workers)
    value = document.model_dump(mode="json", by_alias=True)
    value["operating_characteristics"] = chances.model_dump(mode="json")
    return validate(Preregistration, value, f"draft of {document.study}")


def _pilot(root: StudyRoot, scenario: Pilot) -> Table:
    evidence = gate(root, scenario.study)
    # Simulating from a pilot's clips is a look at them.
    if not evidence.registration.ledger.of(scenario.study, Viewed):
        raise BadDocument(
            "nobody has looked at this pilot yet",
            where=scenario.study,
            expected="a logged look at its results",
            found="none",
            todo=f"look at it first, so that the look is logged: vjepa-stress verdict {scenario.study}",
        )
    found = (evidence.registration.digest, evidence.attempt)
    if found != (scenario.document, scenario.attempt):
        raise BadDocument(
            "the pilot is another one than the scenario names",
            where=scenario.study,
            expected=f"{scenario.document}, attempt {scenario.attempt}",
            found=f"{found[0]}, attempt {found[1]}",
        )
    return evidence.table


def _hypothesis(document: Preregistration, hypothesis: Hypothesis) -> Iterator[Finding]:
    yield from check_rule(hypothesis, document.design)
    for name, estimand in hypothesis.estimands.items():
        if moved := _moved(document.design, estimand):
            yield _warning(document, "moved-positions", hypothesis, name, moved)
    for leaf in leaves(hypothesis.rule):
        if narrow := _too_few(document, hypothesis.estimands[leaf.estimand], leaf):
            yield _warning(document, "too-few-clips", hypothesis, leaf.estimand, narrow)
    for name in sorted({leaf.estimand for leaf in leaves(hypothesis.rule) if reads_interval(leaf)}):
        yield from _few_clips(document.design, f"{hypothesis.id}.{name}", hypothesis.estimands[name])


def _warning(document: Preregistration, code: Warned, hypothesis: Hypothesis, name: str, what: str) -> Finding:
    where = f"{hypothesis.id}.{name}"
    known: dict[tuple[str, str, str], Acknowledged] = {
        (one.warning, one.hypothesis, one.estimand): one for one in document.acknowledged
    }
    if one := known.get((code, hypothesis.id, name)):
        return Finding("acknowledged", code, where, f"{what}. Acknowledged: {one.reason}")
    todo = f"acknowledge it: {{warning: {code}, hypothesis: {hypothesis.id}, estimand: {name}, reason: …}}"
    return Finding("warning", code, where, f"{what}. Measure something else, or {todo}")


# Rules


def check_rule(hypothesis: Hypothesis, design: VideoDesign) -> Iterator[Finding]:
    """Overlap, reach and range of one hypothesis's rule."""
    hopeless = [
        Finding("error", code, f"{hypothesis.id}.{name}", what)
        for name, estimand in hypothesis.estimands.items()
        for code, what in _hopeless(estimand, design)
    ]
    yield from hopeless
    if hopeless:
        return
    ranges = {name: value_range(estimand, design) for name, estimand in hypothesis.estimands.items()}
    for leaf in leaves(hypothesis.rule):
        low, high = ranges[leaf.estimand]
        # ±margin is one number: its mirror image may lie where no value can.
        for border in (leaf.margin,) if isinstance(leaf, Equivalence) else borders(leaf):
            if not low <= border <= high:
                what = f"{leaf.kind} has a border at {border:g}, but this number lies in [{low:g}, {high:g}]"
                yield Finding("error", "out-of-range", f"{hypothesis.id}.{leaf.estimand}", what)
    best: dict[str, list[Vector]] = {}
    worst: dict[str, list[Vector]] = {}
    # One number under two names is one number: what its readers say is not independent.
    first: dict[Hashable, str] = {}
    known = {name: first.setdefault(meaning(design, one), name) for name, one in hypothesis.estimands.items()}
    for name in first.values():
        estimand = hypothesis.estimands[name]
        readers = [leaf for leaf in leaves(hypothesis.rule) if known[leaf.estimand] == name]
        said = [[regions(leaf, one) for leaf in readers] for one in possible(estimand, readers, ranges[name])]
        if any(confirmed and refuted for row in said for confirmed, refuted in row):
            yield Finding("error", "overlapping", f"{hypothesis.id}.{name}", "one estimate is confirmed and refuted")
        best[name], worst[name] = _extremes({tuple(outcome_of(*pair) for pair in row) for row in said})
    reachable = {
        _outcome(hypothesis.rule, known, dict(zip(vectors, chosen, strict=True)))
        for vectors in (best, worst)
        for chosen in product(*vectors.values())
    }
    if len(reachable) == 1:
        yield Finding("error", "vacuous", hypothesis.id, f"whatever is found, the verdict is {reachable.pop()}")
        return
    for wanted in sorted({"confirmed", "refuted"} - reachable):
        yield Finding("error", "unreachable", hypothesis.id, f"no possible result is {wanted}")


def _hopeless(estimand: Estimand, design: VideoDesign) -> Iterator[tuple[str, str]]:
    """Why an estimand has the same value, or none, whatever is found: code and what to say."""
    named = {(one.column, where) for where in filters(estimand) for one in where.rows or ()}
    for metric in sorted(column for column, where in named if _is_empty(column, where, design)):
        what = f"no row can fulfil its conditions: {metric} lies in {list(design.columns[metric].range)}"
        yield "unreachable", what
    if isinstance(estimand, Trend):
        strengths = {cell.strength for cell in design.select(estimand.where)} - {None}
        if len(strengths) < _STRENGTHS:
            found = f"a trend over {len(strengths)} strengths can only be -1 or 1: take {_STRENGTHS} or more"
            yield "too-few-strengths", found
    if isinstance(estimand, Pearson | Spearman):
        entry, cells = design.columns[estimand.x], design.select(estimand.where)
        still = all(design.perturbations[cell.perturbation].correspondence == "in-place" for cell in cells)
        if still and entry.compares == "positions" and estimand.y in entry.columns:
            what = f"{estimand.x} and {estimand.y} are the same number where nothing moves: it is always 1"
            yield "vacuous", what


def _span(metric: str, where: Where, design: VideoDesign) -> tuple[float, float]:
    """Smallest and largest value of a metric that a filter lets through; the first is larger where it lets none."""
    low, high = design.columns[metric].range
    for condition in where.rows or ():
        if condition.column == metric:
            equal = [float(condition.equals)] if isinstance(condition.equals, int | float) else []
            low = max([low, *equal, *([] if condition.at_least is None else [condition.at_least])])
            high = min([high, *equal, *([] if condition.at_most is None else [condition.at_most])])
    return low, high


def _is_empty(column: str, where: Where, design: VideoDesign) -> bool:
    low, high = _span(column, where, design) if column in design.columns else (0.0, 0.0)
    return low > high


def value_range(estimand: Estimand, design: VideoDesign) -> tuple[float, float]:
    """Smallest and largest value that an estimand can have, from the ranges of its metrics and its conditions."""
    if isinstance(estimand, Pearson | Spearman | Trend):
        return -1.0, 1.0
    spans = [_span(estimand.metric, where, design) for where in filters(estimand)]
    low, high = spans[0]
    if isinstance(estimand, Mean):
        return low, high
    if isinstance(estimand, Maximum):
        return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
    if isinstance(estimand, RatioOfMeans):
        return _quotients(spans[0], spans[1])
    other_low, other_high = spans[-1]
    return low - other_high, high - other_low


def _quotients(above: tuple[float, float], below: tuple[float, float]) -> tuple[float, float]:
    """Smallest and largest quotient of numbers in two ranges."""
    if below[0] <= 0:
        return (0.0 if above[0] >= 0 and below[0] == 0 else -math.inf), math.inf
    found = [one / other for one in above for other in below]
    return min(found), max(found)


def borders(leaf: Leaf) -> tuple[float, ...]:
    """The numbers at which a rule's verdict changes; none for `monotone`, whose borders depend on the noise."""
    if isinstance(leaf, Band):
        return leaf.low, leaf.high
    if isinstance(leaf, Equivalence):
        return -leaf.margin, leaf.margin
    if isinstance(leaf, Monotone):
        return ()
    return leaf.confirm_at, leaf.refute_at


def possible(estimand: Estimand, readers: Sequence[Leaf], within: tuple[float, float]) -> Iterator[Estimate]:
    """Estimates that stand for all possible ones: every order of value and ends at, between and beyond borders."""
    if isinstance(estimand, Jumps):
        yield from _curves(len(estimand.models) - 1, readers)
        return
    low, high = (end if math.isfinite(end) else math.copysign(1e9, end) for end in within)
    marks = sorted({low, high, *(border for leaf in readers for border in borders(leaf) if low <= border <= high)})
    points = sorted({*marks, *((one + other) / 2 for one, other in pairwise(marks))})
    certain = estimand.interval == "none"
    for bottom, value, top in combinations_with_replacement(points, 3):
        if not certain or bottom == value == top:
            yield Estimate(value=value, low=bottom, high=top, n=2, method="possible")


def _curves(steps: int, readers: Sequence[Leaf]) -> Iterator[Estimate]:
    """Curves of jumps below, at and above the noise of each reader, up and down."""
    noises = sorted({leaf.noise for leaf in readers if isinstance(leaf, Monotone)})
    sizes = {0.0, *(sign * noise * by for noise in noises for sign in (-1, 1) for by in (0.5, 1.0, 2.0))}
    for size, overall in product(sorted(sizes), repeat=2):
        jump = Step(value=size, half_width=1.0, low=None, high=None, n=2)
        whole = jump.model_copy(update={"value": overall})
        yield Estimate(
            value=overall, low=overall, high=overall, n=2, method="possible", steps=(jump,) * steps, overall=whole
        )


_RANK = {"refuted": 0, "ambiguous": 1, "confirmed": 2}


def _extremes(vectors: set[Vector]) -> tuple[list[Vector], list[Vector]]:
    """Those that no other is better than, and those that no other is worse than.

    All combinations of rules are monotone in what their parts say, so that extremes reach what anything reaches.
    """

    def at_least(one: Vector, other: Vector) -> bool:
        return all(_RANK[a] >= _RANK[b] for a, b in zip(one, other, strict=True))

    best = [one for one in vectors if not any(other != one and at_least(other, one) for other in vectors)]
    worst = [one for one in vectors if not any(other != one and at_least(one, other) for other in vectors)]
    return sorted(best), sorted(worst)


def _outcome(rule: Rule, known: Mapping[str, str], said: Mapping[str, Vector]) -> str:
    remaining = {name: iter(vector) for name, vector in said.items()}

    def outcome(part: Rule) -> str:
        if isinstance(part, Count | AllOf | AnyOf):
            return outcome_of(*combined(part, [outcome(one) for one in part.of]))
        return next(remaining[known[part.estimand]])

    return outcome(rule)


# What a metric can mean


def _moved(design: VideoDesign, estimand: Estimand) -> str:
    """Say so when a metric compares positions under a perturbation that moves what stands there."""
    for name in metrics(estimand):
        entry = design.columns[name]
        if entry.compares != "positions" or name != entry.columns[0]:
            continue  # an aligned twin maps positions back first
        moving = sorted(
            {
                cell.perturbation
                for where in filters(estimand)
                for cell in design.select(where)
                if design.perturbations[cell.perturbation].correspondence != "in-place"
            }
        )
        if moving:
            twins = [column for column in entry.columns if column != name]
            instead = f"; {twins[0]} maps them back first" if twins else ""
            return f"{name} compares positions, and {', '.join(moving)} moves what stands there{instead}"
    return ""


# Sample size


def _too_few(document: Preregistration, estimand: Estimand, leaf: Leaf) -> str:
    """Say so when the interval of a mean can only fit into its band if clips hardly differ."""
    if not isinstance(leaf, Band | Equivalence) or not isinstance(estimand, Mean | Difference):
        return ""
    low, high = borders(leaf)
    bottom, top = value_range(estimand, document.design)
    clips = min(document.design.datasets[name].n_clips for name in _datasets(document.design, estimand))
    z = float(stats.norm.ppf((1 + document.analysis.confidence_level) / 2))
    largest = (min(high, top) - max(low, bottom)) / 2 * math.sqrt(clips) / z
    if largest >= _SPREAD * (top - bottom):
        return ""
    fits = f"its interval fits into [{low:g}, {high:g}] only if clips deviate by {largest:.2g} or less"
    return f"with {clips} clips {fits}"


def _few_clips(design: VideoDesign, where: str, estimand: Estimand) -> Iterator[Finding]:
    clips = sum(design.datasets[name].n_clips for name in _datasets(design, estimand))
    if estimand.interval in (*get_args(Resampled), "cluster") and clips < _CLIPS:
        what = f"its interval is resampled from {clips} clips; of fewer than {_CLIPS} it is too narrow: take more"
        yield Finding("suggestion", "few-clips", where, what)


def _datasets(design: VideoDesign, estimand: Estimand) -> set[str]:
    return {cell.dataset for where in filters(estimand) for cell in design.select(where)}


def _powerless(document: Preregistration) -> Iterator[Finding]:
    """Rules that say the same in every scenario, and those that hardly ever decide."""
    simulated = document.operating_characteristics
    if simulated is None:
        return
    for name in constant_rules(document, simulated):
        what = "its verdict is the same in every simulated study of every scenario: add one in which it should differ"
        yield Finding("error", "constant", name, what)
    for hypothesis in document.hypotheses:
        seen = [chances[hypothesis.id] for chances in simulated.chances.values() if hypothesis.id in chances]
        best = max((max(one.confirmed.p, one.refuted.p) for one in seen), default=1.0)
        if best < 0.5:
            what = f"in no scenario is it decided in more than {best:.0%} of the studies: more clips, or another rule"
            yield Finding("suggestion", "low-power", hypothesis.id, what)


# Suggestions


def _suggestions(document: Preregistration, planned: bool) -> Iterator[Finding]:
    design = document.design
    if not any(model.role == "control" for model in design.models.values()):
        what = (
            "no control model: an untrained twin or raw pixels in the same cells shows what a metric says of anything"
        )
        yield Finding("suggestion", "no-control", "design", what)
    families = [hypothesis.family for hypothesis in document.hypotheses if hypothesis.family != CALIBRATION]
    for family in sorted(set(families)):
        if document.analysis.multiplicity == "none" and families.count(family) > 1:
            what = f"{families.count(family)} hypotheses and no correction for multiplicity: say why, or `bonferroni`"
            yield Finding("suggestion", "multiplicity", f"family {family}", what)
    if not any(hypothesis.family == CALIBRATION for hypothesis in document.hypotheses):
        what = (
            "no calibration hypothesis: an identity probe with a maximum shows the noise floor before anything else"
        )
        yield Finding("suggestion", "no-calibration", "hypotheses", what)
    if document.operating_characteristics is None and not planned:
        what = "no scenarios: nobody knows how likely these rules are to find what they look for"
        yield Finding("suggestion", "no-scenarios", "operating_characteristics", what)
