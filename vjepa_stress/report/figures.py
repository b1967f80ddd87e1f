"""Dose–response figures as SVG text. The same numbers give the same text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# The colours of Okabe and Ito, which colour-blind readers can distinguish. Dash patterns distinguish models in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """Cell means of one model along the strengths of one perturbation, with their intervals.

    `aligned` is true if features were mapped back before the comparison.
    """

    dataset: str
    perturbation: str
    model: str
    aligned: bool
    strengths: Sequence[float]
    means: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


def figure_style() -> AbstractContextManager[None]:
    """Context in which all figures are drawn: the same font size, and reproducible identifiers."""
    return mpl.rc_context({"svg.hashsalt": "vjepa-stress", "font.size": 9, "svg.fonttype": "path"})


def panels(rows: int, columns: int) -> tuple[Figure, Any]:
    """An empty figure with (rows, columns) panels that share their axes."""
    figure = Figure(figsize=(2.1 * columns + 0.8, 2.0 * rows + 0.9), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3, linewidth=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def dose_response(metric: str, curves: Sequence[Curve], level: str, stamp: str = "") -> str:
    """One panel per perturbation (columns) and data set (rows), with shaded intervals, as SVG text.

    Args:
        metric: name of the metric on the vertical axis.
        curves: the curves of all panels.
        level: confidence level of the shaded intervals, as text.
        stamp: text across the figure; empty for none.
    """
    rows = sorted({curve.dataset for curve in curves})
    columns = list(dict.fromkeys(curve.perturbation for curve in curves))
    models = list(dict.fromkeys(curve.model for curve in curves))
    style = {model: (COLOURS[n % len(COLOURS)], _DASHES[n % len(_DASHES)]) for n, model in enumerate(models)}
    with figure_style():
        figure, axes = panels(len(rows), len(columns))
        for r, dataset in enumerate(rows):
            for c, perturbation in enumerate(columns):
                axis = axes[r, c]
                axis.set_title(perturbation.replace("_", " ") if r == 0 else "", fontsize=9)
                axis.set_xlabel("strength" if r == len(rows) - 1 else "")
                axis.set_ylabel(f"{dataset}\nmean {metric}" if c == 0 else "")
                for curve in curves:
                    if (curve.dataset, curve.perturbation) != (dataset, perturbation):
                        continue
                    colour, dash = style[curve.model]
                    x = curve.strengths
                    shade: dict[str, Any] = {"color": colour, "alpha": 0.18, "linewidth": 0}
                    axis.fill_between(x, curve.lows, curve.highs, **shade)
                    marker = {"marker": "s", "markerfacecolor": "white"} if curve.aligned else {"marker": "o"}
                    axis.plot(x, curve.means, dash, color=colour, markersize=3, linewidth=1.3, **marker)
        lines: dict[str, Any] = {"marker": "o", "markersize": 3}
        handles = [Line2D([], [], color=colour, linestyle=dash, **lines) for colour, dash in style.values()]
        figure.legend(handles, models, loc="outside upper center", ncols=min(4, len(models)), frameon=False)
        note = f"Lines: mean over clips. Shading: {level} percentile bootstrap over clips."
        note += " Hollow squares: after alignment." if any(curve.aligned for curve in curves) else ""
        figure.supxlabel(note, fontsize=7)
        return text_of(figure, metric, stamp)


def text_of(figure: Figure, title: str, stamp: str) -> str:
    """A figure as SVG text. A stamp that is not empty is drawn across it and added to its title."""
    if stamp:
        figure.text(0.5, 0.5, stamp, fontsize=34, color="#b00000", alpha=0.25, ha="center", va="center", rotation=20)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": f"{stamp} {title}".strip()})
    return buffer.getvalue()
