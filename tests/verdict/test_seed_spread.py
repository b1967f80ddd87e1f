"""The spread between seeds and between clips; references: statsmodels and simulated data."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from tests.design.test_cell import CHOSEN, design
from vjepa_stress.verdict.seed_spread import analysed, seed_spreads
from vjepa_stress.verdict.table import Table


def drawn(clips: int, seeds: int, between_clips: float, between_seeds: float, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed)
    return draws.normal(0, between_clips, (clips, 1)) + draws.normal(0, between_seeds, (clips, seeds))


def test_mean_squares_are_those_of_statsmodels() -> None:
    values = drawn(12, 4, 1.0, 0.5)
    frame = pd.DataFrame({"y": values.ravel(), "clip": np.repeat(np.arange(12), 4)})
    mean_squares = anova_lm(ols("y ~ C(clip)", frame).fit())["mean_sq"]
    spread = analysed(values)
    assert spread.between_seeds**2 == pytest.approx(mean_squares["Residual"])
    assert spread.between_clips**2 == pytest.approx((mean_squares["C(clip)"] - mean_squares["Residual"]) / 4)


def test_the_components_of_simulated_data_are_found() -> None:
    spread = analysed(drawn(4000, 5, 0.3, 0.1))
    assert spread.between_clips == pytest.approx(0.3, rel=0.05)
    assert spread.between_seeds == pytest.approx(0.1, rel=0.05)
    assert spread.of_mean == pytest.approx(0.1 / math.sqrt(4000), rel=0.05)
    assert spread.standard_error == pytest.approx(math.hypot(0.3, 0.1) / math.sqrt(4000), rel=0.05)


def test_no_spread_between_clips_is_zero_and_not_negative() -> None:
    assert min(analysed(drawn(10, 3, 0.0, 1.0, seed)).between_clips for seed in range(20)) == 0.0


def table_of(of: object, values: np.ndarray) -> Table:
    cells = of.cells  # type: ignore[attr-defined]
    n = len(values)
    clips = tuple(f"sha256:{k:064x}" for k in range(n))
    return Table(cells, clips, {"M2": values}, np.ones_like(values, dtype=bool), clips)


def test_groups_of_cells_that_differ_only_in_the_seed() -> None:
    of = design()
    draws = np.random.default_rng(1)
    values = draws.normal(size=(9, len(of.cells)))
    found = seed_spreads(table_of(of, values), of)
    assert [(one.column, one.perturbation, one.seeds) for one in found] == [("M2", "noise", 2)]
    groups: dict[object, list[int]] = {}
    for k, cell in enumerate(of.cells):
        groups.setdefault(cell.without("seed"), []).append(k)
    pairs = [columns for columns in groups.values() if len(columns) == 2]
    assert found[0].cells == len(pairs)
    expected = np.mean([analysed(values[:, columns]).between_seeds ** 2 for columns in pairs])
    assert found[0].spread.between_seeds ** 2 == pytest.approx(expected)
    missing = values.copy()
    missing[1:, pairs[0][0]] = np.nan  # one clip is left: the group is skipped
    (fewer,) = seed_spreads(table_of(of, missing), of)
    assert fewer.cells == len(pairs) - 1


def test_a_design_with_one_seed_has_no_spread() -> None:
    of = design(CHOSEN)
    assert seed_spreads(table_of(of, np.zeros((3, len(of.cells)))), of) == ()
