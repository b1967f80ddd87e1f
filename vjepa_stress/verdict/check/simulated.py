"""Findings about scenarios and about the chances of each verdict in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vjepa_stress.prereg.document import CALIBRATION, Hypothesis, Preregistration
from vjepa_stress.prereg.scenarios import FEWEST, WORLDS, Chances, OperatingCharacteristics, Plan, World
from vjepa_stress.verdict.check.finding import Finding, warning
from vjepa_stress.verdict.power import constant_rules

_POWER = 0.8
"""A lower chance of the expected verdict is reported."""


def scenarios(document: Preregistration, plan: Plan | None) -> Iterator[Finding]:
    """Too few studies; hypotheses without a scenario that expects their confirmation, or their refutation."""
    if plan is None:
        yield Finding("error", "no-scenarios", "operating_characteristics")
        return
    for field, least in FEWEST.items():
        if getattr(plan, field) < least:
            values = {"field": field, "found": getattr(plan, field), "least": least}
            yield warning(document, "few-studies", None, None, values)
    for hypothesis in _tested(document):
        for verdict in ("confirmed", "refuted"):
            if not plan.expecting(verdict, hypothesis.id):
                code = {"confirmed": "no-confirming-scenario", "refuted": "no-refuting-scenario"}[verdict]
                yield Finding("error", code, hypothesis.id, {"hypothesis": hypothesis.id})


def simulated(document: Preregistration, found: OperatingCharacteristics) -> Iterator[Finding]:
    """False verdicts above the cap, rules with one verdict only, low power, and rules that are not severe."""
    for name in constant_rules(document, found):
        yield Finding("error", "constant", name)
    for hypothesis in _tested(document):
        yield from _false_verdicts(hypothesis, found)
        yield from _confirmed_without_effect(document, hypothesis, found)
        yield from _power(hypothesis, found)
        yield from _rarely_refuted(hypothesis, found)
        yield from _not_severe(hypothesis, found)


def _tested(document: Preregistration) -> list[Hypothesis]:
    judged = [one for hypothesis in document.hypotheses if (one := hypothesis.judged) is not None]
    return [one for one in judged if one.family != CALIBRATION]


def _false_verdicts(hypothesis: Hypothesis, found: OperatingCharacteristics) -> Iterator[Finding]:
    for expected, other, code in (
        ("refuted", "confirmed", "confirmed-where-refuted"),
        ("confirmed", "refuted", "refuted-where-confirmed"),
    ):
        for scenario, one in found.scenarios.items():
            chance = getattr(found.chances[scenario][hypothesis.id], other)
            if one.expects.get(hypothesis.id) == expected and chance.low > found.cap:
                yield Finding("error", code, hypothesis.id, {"scenario": scenario, "p": chance.p, "cap": found.cap})


def _confirmed_without_effect(
    document: Preregistration, hypothesis: Hypothesis, found: OperatingCharacteristics
) -> Iterator[Finding]:
    leaves = list(hypothesis.rule.leaves())
    exempt: set[World] = set()
    if any(leaf.claims_no_effect for leaf in leaves):
        exempt = {"null", "shuffled", "noise"}  # cells alike are what it claims
    # Cells alike can be at the claimed level, so for a level the authors say why the level itself is the claim.
    levels = [leaf for leaf in leaves if hypothesis.estimands[leaf.estimand].is_level]
    for world in WORLDS:
        chances: Mapping[str, Chances] = found.chances.get(world, {})
        if world in exempt or hypothesis.id not in chances:
            continue
        chance = chances[hypothesis.id].confirmed
        if chance.low <= found.cap:
            continue
        values = {"p": chance.p, "cap": found.cap}
        if world in ("null", "shuffled") and not levels:
            yield Finding("error", f"confirmed-by-{world}", hypothesis.id, values)
        else:
            yield warning(document, f"confirmed-by-{world}", hypothesis.id, None, values)


def _power(hypothesis: Hypothesis, found: OperatingCharacteristics) -> Iterator[Finding]:
    scenario = found.claimed(hypothesis.id)
    if scenario is None:
        return
    p = found.chances[scenario][hypothesis.id].confirmed.p
    if p >= _POWER:
        return
    enough = [size for size in found.curves.get(hypothesis.id, ()) if size.confirmed.p >= _POWER]
    values: dict[str, str | float | int] = {"scenario": scenario, "p": p, "wanted": _POWER}
    if not enough:
        yield Finding("suggestion", "low-power", hypothesis.id, values)
        return
    sizes = [f"{n} in {stratum}" for stratum, n in enough[0].units.items()]
    yield Finding("suggestion", "more-units", hypothesis.id, {**values, "units": ", ".join(sizes)})


def _rarely_refuted(hypothesis: Hypothesis, found: OperatingCharacteristics) -> Iterator[Finding]:
    for scenario in found.expecting("refuted", hypothesis.id):
        p = found.chances[scenario][hypothesis.id].refuted.p
        if p < _POWER:
            yield Finding(
                "suggestion", "rarely-refuted", hypothesis.id, {"scenario": scenario, "p": p, "wanted": _POWER}
            )


def _not_severe(hypothesis: Hypothesis, found: OperatingCharacteristics) -> Iterator[Finding]:
    """A rule that reads only values is confirmed in half of the studies by construction if its borders are equal."""
    severity = found.severity.get(hypothesis.id)
    if severity is None or not all(leaf.reads_interval for leaf in hypothesis.rule.leaves()):
        return
    chance = severity.at_refuting.confirmed
    if chance.low > found.cap:
        yield Finding("suggestion", "not-severe", hypothesis.id, {"p": chance.p, "cap": found.cap})
