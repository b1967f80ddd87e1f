"""The pairs behind the partition finding: drift against what tracking loses, a point a clip and cell."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vjepa_stress.report import numbers
from vjepa_stress.report.figures import COLOURS, drawn_alike, panels, text_of
from vjepa_stress.verdict.partition import Cloud, Partition

MOST = 4000
"""Points that one figure draws: a browser stays quick, and no more could be told apart."""

_MARKERS = ("o", "^", "s", "D", "v", "P")


def scatter(finding: Partition, stamp: str = "") -> str:
    """One panel a perturbation, subjects above controls, as SVG text that is the same for the same numbers.

    Args:
        finding: whose pairs are drawn.
        stamp: printed across the figure when not empty.
    """
    columns = list(dict.fromkeys(cloud.perturbation for cloud in finding.clouds))
    rows = sorted({cloud.control for cloud in finding.clouds})
    models = list(dict.fromkeys(cloud.model for cloud in finding.clouds))
    style = {model: (COLOURS[n % len(COLOURS)], _MARKERS[n % len(_MARKERS)]) for n, model in enumerate(models)}
    r = {one.name: one.fisher.value for one in finding.correlations if one.kind == "perturbation" and not one.control}
    total = sum(len(cloud.pairs) for cloud in finding.clouds)
    with drawn_alike():
        figure, axes = panels(len(rows), len(columns))
        for row, control in enumerate(rows):
            for column, perturbation in enumerate(columns):
                axis = axes[row, column]
                here = [one for one in finding.clouds if (one.perturbation, one.control) == (perturbation, control)]
                _panel(axis, here, style, total)
                title = perturbation.replace("_", " ") if row == 0 else ""
                said = "" if control else f"\nr = {numbers.number(r.get(perturbation))}"
                axis.set_title(title + said, fontsize=9)
                axis.set_xlabel("M2" if row == len(rows) - 1 else "")
                axis.set_ylabel(f"{'controls' if control else 'subjects'}\nΔM3" if column == 0 else "")
        handles = [
            Line2D([], [], color=colour, marker=marker, markersize=4, linestyle="none")
            for colour, marker in style.values()
        ]
        figure.legend(handles, models, loc="outside upper center", ncols=min(6, len(models)), frameon=False)
        drawn = sum(len(thinned(cloud, total)) for cloud in finding.clouds)
        note = f"{total} pairs, a clip and cell each."
        note += f" Drawn: {drawn}, evenly by rank of M2; r is that of all." if drawn < total else ""
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
    """As many of a cloud's points as it has a share in all, evenly by rank, the first and last among them."""
    n = len(cloud.pairs)
    kept = n if total <= MOST else max(1, n * MOST // total)
    return tuple(cloud.pairs[place * (n - 1) // max(1, kept - 1)] for place in range(kept))
