"""Dose–response figures: the same bytes for the same numbers, a panel for each pair, everything labelled."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib as mpl
import pytest

from vjepa_stress.report.figures import Curve, dose_response, figure_style, panels, text_of

SVG = "{http://www.w3.org/2000/svg}"
DC = "{http://purl.org/dc/elements/1.1/}"
STRENGTHS, MEANS, LOWS, HIGHS = (0.2, 0.6, 1.0), (0.1, 0.2, 0.4), (0.0, 0.1, 0.3), (0.2, 0.3, 0.5)
CURVE = Curve("clips", "motion_blur", "tiny", False, STRENGTHS, MEANS, LOWS, HIGHS)


def parts(svg: str, prefix: str) -> int:
    """Number of elements whose id begins so."""
    tree = ElementTree.fromstring(svg)  # noqa: S314 - our own text
    return sum(one.get("id", "").startswith(prefix) for one in tree.iter())


def title(svg: str) -> str | None:
    tree = ElementTree.fromstring(svg)  # noqa: S314 - our own text
    return next(tree.iter(f"{DC}title")).text


def test_the_same_numbers_give_the_same_bytes_and_others_do_not() -> None:
    first = dose_response("M2", [CURVE], "95%")
    assert dose_response("M2", [CURVE], "95%") == first
    assert dose_response("M2", [replace(CURVE, means=(0.1, 0.2, 0.41))], "95%") != first
    assert dose_response("M2", [replace(CURVE, highs=(0.2, 0.3, 0.51))], "95%") != first
    assert dose_response("M2", [replace(CURVE, aligned=True)], "95%") != first
    assert "date" not in first.lower()


def test_a_panel_for_each_perturbation_and_data_set() -> None:
    curves = [
        replace(CURVE, dataset=dataset, perturbation=perturbation, model=model)
        for dataset in ("clips", "footage")
        for perturbation in ("blur", "noise", "drops")
        for model in ("tiny", "wide")
    ]
    assert parts(dose_response("M2", curves, "95%"), "axes_") == 6
    assert parts(dose_response("M2", curves[:1], "95%"), "axes_") == 1


def test_more_models_than_colours_and_dashes() -> None:
    curves = [replace(CURVE, model=f"model{number}") for number in range(9)]
    assert parts(dose_response("M2", curves, "95%"), "axes_") == 1


@pytest.mark.parametrize(("stamp", "expected"), [("", "M2"), ("EXPLORATORY", "EXPLORATORY M2")])
def test_a_stamp_is_in_the_figure_and_its_title(stamp: str, expected: str) -> None:
    svg = dose_response("M2", [CURVE], "95%", stamp)
    assert title(svg) == expected
    assert ("#b00000" in svg) == bool(stamp)


def test_settings_of_the_caller_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    dose_response("M2", [CURVE], "95%")
    assert dict(mpl.rcParams) == before


def test_panels_share_their_axes() -> None:
    with figure_style():
        figure, axes = panels(2, 3)
        assert axes.shape == (2, 3)
        axes[0, 0].set_xlim(0, 7)
        axes[0, 0].set_ylim(-1, 3)
        assert {axis.get_xlim() for axis in axes.flat} == {(0.0, 7.0)}
        assert {axis.get_ylim() for axis in axes.flat} == {(-1.0, 3.0)}
        assert text_of(figure, "a", "").startswith("<?xml")
