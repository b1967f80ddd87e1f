"""Shares of positions that are left out: counts of the real metric, groups of cells, and the partition finding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.verdict.test_partition import design, found, gap, world
from vjepa_stress.design.video import VideoDesign
from vjepa_stress.metrics.drift import measure_gradients
from vjepa_stress.report.page import _environment
from vjepa_stress.report.video import SEPARATION_REFUSED, separable, separation_notes, shares
from vjepa_stress.verdict.exclusions import LARGEST_DIFFERENCE, differ, exclusions
from vjepa_stress.verdict.table import Table

LOSING = {"image-noise": 0.0, "time-axis": 0.9}


def counted(of: VideoDesign, table: Table, lost: dict[tuple[str, str], float], n: int = 100) -> Table:
    """A table with counts of M2: of `n` positions per clip, a share by (model, perturbation) is left out."""
    zero = np.array([round(n * lost.get((cell.model, cell.perturbation), 0.0)) for cell in of.cells])
    there = np.where(table.present, 1.0, np.nan)
    counts = {"M2_n": n * there, "M2_n_both_zero": zero // 2 * there, "M2_n_one_zero": (zero - zero // 2) * there}
    return dataclasses.replace(table, values={**table.values, **counts})


def test_shares_by_model_in_cells_that_differ_only_in_the_model() -> None:
    of = design(plain=3)
    lost = {("twin", "drops"): 0.8, ("base", "drops"): 0.02, ("large", "bars"): 0.05}
    found_ = exclusions(counted(of, world(of, LOSING), lost), of)
    by_cell = {(one.cell["dataset"], one.cell["perturbation"], one.cell["strength"]): one for one in found_}
    # One group per data set, perturbation and strength; metrics without counts are skipped.
    assert len(by_cell) == len(found_) == len({cell.without("model") for cell in of.cells})
    assert {one.column for one in found_} == {"M2"}
    for dataset in ("davis", "films"):
        drops, bars = by_cell[dataset, "drops", 0.6], by_cell[dataset, "bars", 0.6]
        assert drops.shares == {"base": 0.02, "large": 0.0, "twin": 0.8}
        assert drops.differs
        assert bars.difference == LARGEST_DIFFERENCE
        assert not bars.differs
    assert {one.cell["perturbation"] for one in found_ if one.differs} == {"drops"}
    assert shares(by_cell["davis", "drops", 0.6]) == "base 2%, large 0%, twin 80%"


def test_counts_of_the_real_metric_on_constant_frames() -> None:
    """A model whose features repeat in 3 of 4 steps loses three quarters of its positions; the others lose none."""
    of = design(clips=2)
    chance = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 5, 3, 3, 4, generator=chance)
    moving = clean + 0.1 * torch.rand(clean.shape, generator=chance)
    frozen = moving[:, [0, 0, 0, 0, 1]]
    table = world(of, LOSING)
    values = {f"M2_{count}": np.full(table.present.shape, np.nan) for count in ("n", "n_both_zero", "n_one_zero")}
    for column, cell in enumerate(of.cells):
        still = (cell.model, cell.perturbation) == ("twin", "drops")
        measured = measure_gradients(clean, frozen if still else moving)
        for name, part in values.items():
            part[:, column] = getattr(measured, name.removeprefix("M2_")).numpy()
    table = dataclasses.replace(table, values={**table.values, **values})
    unequal = [one for one in exclusions(table, of) if one.differs]
    assert {(one.cell["perturbation"], one.cell["strength"]) for one in unequal} == {
        ("drops", strength) for strength in (0.2, 0.6, 1.0)
    }
    for one in unequal:
        assert one.shares == {"base": 0.0, "large": 0.0, "twin": 0.75}


def test_families_with_unequal_exclusions_are_not_called_separable() -> None:
    of = design(clips=40)
    plain = world(of, LOSING, shared=0.2)
    for lost, control in (({("twin", "drops"): 0.8}, "twin"), ({("base", "drops"): 0.8}, None)):
        before = gap(found(plain, of), control)
        after = gap(found(counted(of, plain, lost), of), control)
        other = gap(found(counted(of, plain, lost), of), None if control else "twin")
        assert (before.separable, before.refused) == (True, None)
        # The difference itself is still shown.
        assert after.gap == before.gap
        assert (after.separable, after.refused) == (None, "unequal-exclusions")
        assert (other.separable, other.refused) == (True, None)
        assert separable(after) == "undefined"
        assert separation_notes(after, "clip") == SEPARATION_REFUSED["unequal-exclusions"]
        assert separation_notes(other, "clip") == ""


def test_equal_exclusions_do_not_matter() -> None:
    of = design(clips=40)
    lost = {(cell.model, cell.perturbation): 0.5 for cell in of.cells}
    table = counted(of, world(of, LOSING, shared=0.2), lost)
    assert gap(found(table, of)).separable is True
    assert not any(one.differs for one in exclusions(table, of))


def test_nothing_to_compare() -> None:
    of = design()
    table = world(of, LOSING)
    assert exclusions(table, of) == ()
    assert not differ(table, "M2", of.cells)
    # Cells without positions have no share.
    empty = counted(of, table, {}, n=0)
    assert exclusions(empty, of) == ()


@pytest.mark.parametrize("html", [True, False])
def test_the_report_shows_the_affected_cells(html: bool) -> None:
    of = design()
    unequal = [one for one in exclusions(counted(of, world(of, LOSING), {("twin", "drops"): 0.8}), of) if one.differs]
    environment = _environment(html)
    name = "report.html.j2" if html else "report.md.j2"
    assert environment.loader is not None
    source = environment.loader.get_source(environment, name)[0]
    start = source.index("{% if video and video.exclusions %}")
    part = source[start : source.index("{% endif %}", start) + len("{% endif %}")]
    page = environment.from_string(part).render(video={"exclusions": unequal})
    assert "differ by more than 5% between models" in page
    assert page.count("base 0%, large 0%, twin 80%") == len(unequal) == 3
    assert environment.from_string(part).render(video={"exclusions": []}).strip() == ""
