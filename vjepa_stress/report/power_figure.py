"""Figure of the power curves. In a module of its own, because matplotlib takes seconds to import."""

from __future__ import annotations

from vjepa_stress.prereg.scenarios import OperatingCharacteristics
from vjepa_stress.report.figures import COLOURS, figure_style, panels, text_of

_MARKERS = "osD^v<>P"


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
            # Rounding can put an end of Wilson's interval on the wrong side of a share of 0 or 1.
            chances = [one.confirmed for one in sizes]
            ends = [[max(0.0, one.p - one.low), max(0.0, one.high - one.p)] for one in chances]
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
