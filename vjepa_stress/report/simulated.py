"""Texts and the figure of operating characteristics."""

from __future__ import annotations

from collections.abc import Mapping

from vjepa_stress.prereg.scenarios import OperatingCharacteristics, Size
from vjepa_stress.report import numbers

WORLDS: Mapping[str, str] = {
    "null": "all cells alike, with the average mean and spread of the scenario that expects confirmation",
    "shuffled": "the scenario that expects confirmation, with shuffled cells and units",
    "noise": "every value uniform over the range of its metric",
    "dose": "every metric depends only on the numeric factor",
}
"""Descriptions of the worlds that need no author."""

SEVERITY = (
    "Severity: shares in the scenario that expects confirmation, if every estimate is moved so that its true value "
    "is at the border. Gates count as passed. A rule that reads intervals should rarely be wrong there; one that "
    "reads only values is, in about half of the studies, if its two borders are equal."
)
"""Explanation of the table of severity."""

SEVERITY_COLUMNS = ("hypothesis", "confirmed at the refuting border", "refuted at the confirming border")


def world(simulated: OperatingCharacteristics, name: str) -> str:
    """Name and description of a simulated world."""
    return f"{name}: {WORLDS[name] if name in WORLDS else simulated.scenarios[name].says}"


def severities(simulated: OperatingCharacteristics) -> list[tuple[str, str, str]]:
    """Rows of the table of severity."""
    return [
        (name, numbers.chance(one.at_refuting.confirmed), numbers.chance(one.at_confirming.refuted))
        for name, one in simulated.severity.items()
    ]


def size(one: Size) -> str:
    """Numbers of units, and of sources where they differ, in each stratum."""
    parts = [
        f"{n} in {name}" + (f" of {one.sources[name]} sources" if one.sources[name] != n else "")
        for name, n in one.units.items()
    ]
    return ", ".join(parts)
