"""Texts and the figure of operating characteristics."""

from __future__ import annotations

from collections.abc import Mapping

from vjepa_stress.prereg.scenarios import OperatingCharacteristics, Size
from vjepa_stress.report import numbers
from vjepa_stress.report.figures import COLOURS, figure_style, panels, text_of

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

_MARKERS = "osD^v<>P"


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


def power_figure(simulated: OperatingCharacteristics, units: str, stamp: str = "") -> str:
    """Chance of confirmation by the number of units, one line per hypothesis, as SVG text.

    Args:
        simulated: the operating characteristics, with at least one curve.
        units: name of the units on the horizontal axis.
        stamp: text across the figure; empty for none.
    """
    with figure_style():
        figure, axes = panels(1, 1)
        figure.set_size_inches(4.2, 2.6)
        axis = axes[0, 0]
        for n, (name, sizes) in enumerate(simulated.curves.items()):
            x, y = [sum(one.units.values()) for one in sizes], [one.confirmed.p for one in sizes]
            ends = [[p - one.confirmed.low, one.confirmed.high - p] for p, one in zip(y, sizes, strict=True)]
            axis.errorbar(
                x,
                y,
                yerr=[list(end) for end in zip(*ends, strict=True)],
                color=COLOURS[n % len(COLOURS)],
                marker=_MARKERS[n % len(_MARKERS)],
                markersize=3,
                linewidth=1.2,
                label=name,
            )
        axis.axhline(0.8, color="0.5", linewidth=0.8, linestyle="--")
        axis.set(xscale="log", xlabel=f"number of {units}", ylabel="chance of confirmation", ylim=(-0.03, 1.03))
        ticks = sorted({sum(one.units.values()) for sizes in simulated.curves.values() for one in sizes})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.legend(frameon=False, fontsize=7, loc="best")
        return text_of(figure, "power", stamp)
