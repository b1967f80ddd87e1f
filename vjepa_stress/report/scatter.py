"""Scatter figures of the partition finding: loss of tracking against drift, one point per clip and cell."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vjepa_stress.report import numbers
from vjepa_stress.report.figures import COLOURS, figure_style, panels, text_of
from vjepa_stress.verdict.partition import Cloud, Partition

MOST = 4000
"""Maximum number of points per figure, so that browsers stay fast and points stay distinguishable."""

_MARKERS = ("o", "^", "s", "D", "v", "P")


def scatter(finding: Partition, stamp: str = "") -> str:
    """One panel per perturbation, with subjects above controls, as SVG text. The same numbers give the same text.

    Args:
        finding: the finding whose pairs are drawn.
        stamp: text across the figure; empty for none.
    """
    columns = list(dict.fromkeys(cloud.perturbation for cloud in finding.clouds))
    rows = sorted({cloud.control for cloud in finding.clouds})
    models = list(dict.fromkeys(cloud.model for cloud in finding.clouds))
    style = {model: (COLOURS[n % len(COLOURS)], _MARKERS[n % len(_MARKERS)]) for n, model in enumerate(models)}
    r = {one.name: one.fisher.value for one in finding.correlations if one.kind == "perturbation" and not one.control}
    total = sum(len(cloud.pairs) for cloud in finding.clouds)
    with figure_style():
        figure, axes = panels(len(rows), len(columns))
        for row, control in enumerate(rows):
            for column, perturbation in enumerate(columns):
                axis = axes[row, column]
                clouds = [one for one in finding.clouds if (one.perturbation, one.control) == (perturbation, control)]
                _panel(axis, clouds, style, total)
                title = perturbation.replace("_", " ") if row == 0 else ""
                subtitle = "" if control else f"\nr = {numbers.number(r.get(perturbation))}"
                axis.set_title(title + subtitle, fontsize=9)
                axis.set_xlabel("M2" if row == len(rows) - 1 else "")
                axis.set_ylabel(f"{'controls' if control else 'subjects'}\nΔM3" if column == 0 else "")
        handles = [
            Line2D([], [], color=colour, marker=marker, markersize=4, linestyle="none")
            for colour, marker in style.values()
        ]
        figure.legend(handles, models, loc="outside upper center", ncols=min(6, len(models)), frameon=False)
        drawn = sum(len(thinned(cloud, total)) for cloud in finding.clouds)
        note = f"{total} pairs, one per clip and cell."
        note += f" {drawn} of them are drawn, evenly by rank of M2; r is of all pairs." if drawn < total else ""
        figure.supxlabel(note, fontsize=7)
        return text_of(figure, "M2 and ΔM3", stamp)


def _panel(axis: Axes, clouds: Sequence[Cloud], style: dict[str, tuple[str, str]], total: int) -> None:
    axis.axhline(0, color="#555555", linewidth=0.6)
    for cloud in clouds:
        colour, marker = style[cloud.model]
        x, y = zip(*thinned(cloud, total), strict=True)
        size = 2.4 if total > 500 else 4.5
        axis.plot(x, y, marker, color=colour, markersize=size, markeredgewidth=0, alpha=0.6)


def thinned(cloud: Cloud, total: int) -> tuple[tuple[float, float], ...]:
    """The points of a cloud to draw: its share of `MOST`, evenly by rank, with the first and the last.

    Args:
        cloud: the cloud.
        total: number of points of all clouds of the figure.
    """
    n = len(cloud.pairs)
    kept = n if total <= MOST else max(1, n * MOST // total)
    return tuple(cloud.pairs[index * (n - 1) // max(1, kept - 1)] for index in range(kept))
