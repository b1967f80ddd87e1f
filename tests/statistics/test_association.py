"""Association without dose: references on long tables, explicit bootstraps, and worlds whose answer is known."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from vjepa_stress.design import Cell
from vjepa_stress.statistics import STATISTICS
from vjepa_stress.statistics.base import Sample
from vjepa_stress.statistics.incremental import plan_incremental
from vjepa_stress.statistics.numerics.estimate import Estimate, evaluate
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.verdict.estimate import auroc, clip_counts, incremental, pearson, transfer, within_cell

Floats = NDArray[np.float64]
HOW = Resampling(resamples=400, seed=3)
UNITS, COLUMNS = 14, 9
CELLS = [0, 0, 1, 2, 2, 3, 4, 5, 5]
"""Some cells occur in two columns: two clips of one source."""
GROUPS = [0, 0, 0, 1, 1, 1, 2, 2, 2]
FAILURE = 0.4


def data(*, holes: bool = True, seed: int = 0) -> tuple[Floats, Floats]:
    """Associated values with effects of units and of columns, ties, an offset, and missing values on either side."""
    chance = np.random.default_rng(seed)
    dose = chance.normal(size=COLUMNS)
    x = dose + 0.5 * chance.normal(size=(UNITS, 1)) + chance.normal(size=(UNITS, COLUMNS))
    y = 0.4 * x + dose + chance.normal(size=(UNITS, 1)) + chance.normal(size=(UNITS, COLUMNS))
    x = 1000 + x.round(1)
    if holes:
        x[chance.uniform(size=x.shape) < 0.15] = np.nan
        y[chance.uniform(size=x.shape) < 0.15] = np.nan
        y[4] = np.nan  # a unit without a pair
        x[1:, 2] = np.nan  # the one column of a cell, so that only one unit has the cell
        x[0, 2], y[0, 2] = 1000.5, 0.25
    return x, y


def long(x: Floats, y: Floats, labels: Sequence[Hashable]) -> pd.DataFrame:
    """One row per pair with both values."""
    unit, column = np.indices(x.shape)
    frame = pd.DataFrame(
        {
            "unit": unit.ravel(),
            "label": np.asarray(labels, dtype=object)[column.ravel()],
            "x": x.ravel(),
            "y": y.ravel(),
        }
    )
    return frame.dropna()


def r_within(frame: pd.DataFrame) -> float:
    """Correlation of the residuals of both columns from the means of their cells."""
    x, y = (frame[name] - frame.groupby("label")[name].transform("mean") for name in ("x", "y"))
    return float(np.corrcoef(x, y)[0, 1])


def repeated(frame: pd.DataFrame, counts: Floats) -> pd.DataFrame:
    """The rows of each unit as often as the unit is drawn."""
    units = sorted(frame["unit"].unique())
    times = frame["unit"].map(dict(zip(units, counts.astype(int), strict=True)))
    return frame.loc[frame.index.repeat(times)]


def held_out(frame: pd.DataFrame, by: str, columns: Callable[[pd.DataFrame], Floats]) -> pd.Series:
    """Errors of least squares fitted without each level of `by` in turn."""
    errors = pd.Series(0.0, index=frame.index)
    for level in frame[by].unique():
        out = frame[by] == level
        fitted, *_ = np.linalg.lstsq(columns(frame[~out]), frame.loc[~out, "y"].to_numpy(), rcond=None)
        errors[out] = frame.loc[out, "y"].to_numpy() - columns(frame[out]) @ fitted
    return errors


def gain(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """For each pair, the saved squared error, and the squared deviation of y from its mean."""
    frame = frame[frame.groupby("label")["unit"].transform("nunique") > 1].copy()
    frame["x"] -= frame["x"].mean()  # least squares needs the digits
    labels = sorted(frame["label"].unique())

    def baseline(part: pd.DataFrame) -> Floats:
        return np.column_stack([part["label"] == label for label in labels]).astype(float)

    def full(part: pd.DataFrame) -> Floats:
        return np.column_stack([baseline(part), part["x"]])

    saved = held_out(frame, "unit", baseline) ** 2 - held_out(frame, "unit", full) ** 2
    return saved, (frame["y"] - frame["y"].mean()) ** 2


def line(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """For each pair, the explained square: the squared deviation of y from its mean minus the squared error."""
    frame = frame.assign(x=frame["x"] - frame["x"].mean())
    errors = held_out(frame, "label", lambda part: np.column_stack([np.ones(len(part)), part["x"]]))
    total = (frame["y"] - frame["y"].mean()) ** 2
    return total - errors**2, total


def area(x: Floats, failed: NDArray[np.bool_]) -> float:
    """All pairs of a failure and another, counted one by one."""
    pairs = list(itertools.product(x[failed], x[~failed]))
    return sum(float(one > other) + 0.5 * float(one == other) for one, other in pairs) / len(pairs)


def expanded(units: int, strata: int = 1) -> float:
    """Share of resamples outside each end: Student's t for a normal quantile, and n for n − 1 (Hesterberg 2015)."""
    freedom = units - strata
    return float(stats.norm.cdf(stats.t.ppf((1 - HOW.level) / 2, freedom) * np.sqrt(units / freedom)))


def check(found: Estimate, value: float, samples: Sequence[float], units: int, pairs: int) -> None:
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.method == "expanded"
    share = expanded(units)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(samples, [share, 1 - share])), abs=1e-9)
    assert (found.n, found.pairs) == (units, pairs)


@pytest.mark.parametrize("holes", [False, True])
def test_within_cell_is_the_correlation_of_residuals(holes: bool) -> None:
    x, y = data(holes=holes)
    frame = long(x, y, CELLS)
    units = frame["unit"].nunique()
    samples = [r_within(repeated(frame, counts)) for counts in clip_counts(units, HOW.resamples, HOW.seed)]
    check(within_cell(x, y, CELLS, HOW, interval="expanded"), r_within(frame), samples, units, len(frame))


def ratios(parts: tuple[pd.Series, pd.Series], unit: pd.Series) -> tuple[float, list[float]]:
    """The ratio of both sums, and of the sums over the drawn units."""
    above, below = (part.groupby(unit).sum().to_numpy() for part in parts)
    counts = clip_counts(len(above), HOW.resamples, HOW.seed)
    return above.sum() / below.sum(), ((counts @ above) / (counts @ below)).tolist()


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("groups", [GROUPS, CELLS])
def test_incremental_is_that_of_least_squares_without_each_unit(groups: list[int], holes: bool) -> None:
    x, y = data(holes=holes)
    frame = long(x, y, groups)
    parts = gain(frame)
    value, samples = ratios(parts, frame["unit"])
    check(incremental(x, y, groups, HOW, interval="expanded"), value, samples, frame["unit"].nunique(), len(parts[0]))
    assert len(frame) - len(parts[0]) == int(holes and groups == CELLS)


@pytest.mark.parametrize("holes", [False, True])
def test_transfer_is_that_of_lines_without_each_level(holes: bool) -> None:
    x, y = data(holes=holes)
    frame = long(x, y, GROUPS)
    value, samples = ratios(line(frame), frame["unit"])
    check(transfer(x, y, GROUPS, HOW, interval="expanded"), value, samples, frame["unit"].nunique(), len(frame))


@pytest.mark.parametrize("holes", [False, True])
def test_auroc_counts_all_pairs_of_a_failure_and_another(holes: bool) -> None:
    x, y = data(holes=holes)
    frame = long(x, y, CELLS)
    failed = (frame["y"] >= FAILURE).to_numpy()
    found, expected = auroc(x, y, FAILURE, HOW), area(frame["x"].to_numpy(), failed)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert (found.n, found.pairs) == (frame["unit"].nunique(), len(frame))
    u = stats.mannwhitneyu(frame.loc[failed, "x"], frame.loc[~failed, "x"]).statistic
    assert expected == pytest.approx(u / failed.sum() / (~failed).sum(), abs=1e-12)


ALL: dict[str, Callable[[Floats, Floats], Estimate]] = {
    "within_cell": lambda x, y: within_cell(x, y, CELLS, HOW),
    "incremental": lambda x, y: incremental(x, y, GROUPS, HOW),
    "transfer": lambda x, y: transfer(x, y, GROUPS, HOW),
    "auroc": lambda x, y: auroc(x, y, FAILURE, HOW),
}


@pytest.mark.parametrize("name", ALL)
def test_units_without_a_pair_change_nothing_and_are_noted(name: str) -> None:
    x, y = data(holes=False)
    y[[2, 5]] = np.nan
    found, without = ALL[name](x, y), ALL[name](*(np.delete(part, [2, 5], axis=0) for part in (x, y)))
    (note,) = found.notes
    assert (note.code, note.value) == ("values-left-out", 2 * COLUMNS)
    assert found == without.model_copy(update={"notes": found.notes})
    x[0, 0] = np.inf
    with pytest.raises(ValueError, match="values must be finite"):
        ALL[name](x, y)


@pytest.mark.parametrize("name", ALL)
def test_location_and_scale_of_x_do_not_matter(name: str) -> None:
    x, y = data()
    one, other = ALL[name](x, y), ALL[name](3 + 0.01 * (x - 1000), y)
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-9)


def reason(estimate: Estimate) -> str:
    assert not estimate.defined
    return estimate.notes[0].code


@pytest.mark.parametrize("name", ["within_cell", "incremental"])
def test_a_metric_that_only_follows_the_dose_has_no_association(name: str) -> None:
    """0.1 times a level is not exact, so that the deviations are rounding errors and not 0."""
    _, y = data(holes=False)
    dose = np.tile(0.1 * np.array(GROUPS) + 0.7, (UNITS, 1))
    assert reason(ALL[name](dose, y)) == "constant"
    assert pearson(dose, y, HOW).defined


@pytest.mark.parametrize("name", ["within_cell", "incremental", "transfer"])
@pytest.mark.parametrize("side", [0, 1])
def test_constant_sides_are_undefined(name: str, side: int) -> None:
    sides = list(data(holes=False))
    sides[side] = np.full((UNITS, COLUMNS), 0.1)
    assert reason(ALL[name](*sides)) == "constant"


def test_a_fold_in_which_x_is_constant_is_undefined() -> None:
    """Only one unit, or only one level, has an x that differs."""
    x, y = data(holes=False)
    alone = np.zeros_like(x)
    alone[3] = np.arange(COLUMNS)
    assert reason(incremental(alone, y, GROUPS, HOW)) == "constant"
    alone = np.where(np.array(GROUPS) == 1, x, 0.1)
    assert reason(transfer(alone, y, GROUPS, HOW)) == "constant"


def test_the_area_needs_both_classes() -> None:
    x, y = data()
    assert reason(auroc(x, y, np.nanmin(y), HOW)) == "one-class"
    assert reason(auroc(x, y, np.nanmax(y) + 1, HOW)) == "one-class"
    one = np.full_like(y, -1.0)
    one[3, 2] = 1.0  # without this unit there is no failure
    found = auroc(data(holes=False)[0], one, 0.0, HOW)
    assert reason(found) == "no-value-without-a-unit"
    assert found.notes[0].value == 1


@pytest.mark.parametrize("name", ALL)
def test_one_unit_is_no_sample(name: str) -> None:
    x, y = data(holes=False)
    assert reason(ALL[name](x[:1], y[:1])) == "too-few-units"
    assert reason(ALL[name](x[:0], y[:0])) in ("too-few-units", "too-few-pairs")


def test_a_single_level_cannot_be_left_out() -> None:
    x, y = data(holes=False)
    assert reason(transfer(x, y, [0] * COLUMNS, HOW)) == "too-few-groups"
    y[:, 3:] = np.nan  # the other two levels have no pairs
    assert reason(transfer(x, y, GROUPS, HOW)) == "too-few-groups"


def simpson(r: float, seed: int = 0) -> tuple[Floats, Floats, list[int], list[int]]:
    """40 units in 4 families of 5 strengths: x and y rise with strength, and correlate by r in every cell.

    Returns:
        x, y, the strength of each column, and the family of each column.
    """
    chance = np.random.default_rng(seed)
    family, strength = np.divmod(np.arange(20), 5)
    x = chance.normal(size=(40, 20))
    y = r * x + np.sqrt(1 - r**2) * chance.normal(size=x.shape)
    return x + 1.5 * strength, y + 1.5 * strength, strength.tolist(), family.tolist()


def test_dose_makes_a_negative_association_look_positive() -> None:
    x, y, _, family = simpson(-0.5)
    cells = list(range(20))
    pooled, within = pearson(x, y, HOW), within_cell(x, y, cells, HOW)
    assert pooled.value is not None
    assert pooled.value >= 0.5
    assert within.value == pytest.approx(-0.5, abs=0.06)
    assert within.high is not None
    assert within.high < 0
    # The area and the transfer pool cells as well; the gain does not depend on the sign.
    assert (auroc(x, y, 3.0, HOW).value or 0) > 0.7
    assert (transfer(x, y, family, HOW).value or 0) > 0.3
    added = incremental(x, y, cells, HOW)
    assert added.low is not None
    assert added.low > 0


def test_dose_alone_adds_nothing() -> None:
    """A fitted coefficient of no association only adds noise: the gain is negative on average, and rarely shown."""
    gains, within, proven = [], [], 0
    how = Resampling(resamples=200)
    for seed in range(60):
        x, y, *_ = simpson(0.0, seed)
        added = incremental(x, y, list(range(20)), how)
        gains.append(added.value or 0)
        proven += (added.low or 0) > 0
        within.append(within_cell(x, y, list(range(20)), Resampling(resamples=2)).value or 0)
        assert (pearson(x, y, Resampling(resamples=2)).value or 0) >= 0.5
    assert np.mean(gains) <= 0
    assert max(gains) < 0.01
    assert proven <= 3
    assert abs(np.mean(within)) < 0.02


def test_a_gain_in_closed_form() -> None:
    """If y is x, and cells have the same mean, the full model has no error, and R² of the baseline is known."""
    x = np.random.default_rng(0).normal(size=(30, 4))
    x -= x.mean(0)
    found = incremental(x, x, range(4), HOW)
    # Without a unit, the mean of its cell is −x/(n − 1), so that the error is x·n/(n − 1).
    assert found.value == pytest.approx((30 / 29) ** 2, abs=1e-12)
    assert transfer(x, 2 + 3 * x, range(4), HOW).value == pytest.approx(1, abs=1e-12)
    assert auroc(x, x, 0.0, HOW).value == 1
    assert within_cell(x, -x, range(4), HOW).value == pytest.approx(-1, abs=1e-12)


def test_a_study_of_30_units_and_100_cells_takes_less_than_a_second() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 30, 100))
    began = time.process_time()
    for _ in range(3):
        incremental(x, y, [n % 50 for n in range(100)], Resampling(resamples=10_000))
    assert (time.process_time() - began) / 3 < 1


def test_units_are_drawn_within_strata() -> None:
    x, y = data(holes=False)
    strata = (5, UNITS - 5)
    counts = clip_counts(UNITS, HOW.resamples, HOW.seed, strata)
    assert set(counts[:, :5].sum(1)) == {5}
    parts = line(long(x, y, GROUPS))
    above, below = (part.groupby(np.repeat(range(UNITS), COLUMNS)).sum().to_numpy() for part in parts)
    samples = (counts @ above) / (counts @ below)
    fields = {"statistic": "transfer", "x": "M2", "y": "dM3", "where": {}, "leave_out": "n"}
    estimand = STATISTICS["transfer"].model_validate(fields).model_copy(update={"interval": "expanded"})
    planned = estimand.plan(Sample([x, y], [Cell({"n": float(n)}) for n in GROUPS], strata), HOW)
    (found,) = evaluate([planned.within(strata)], HOW)
    share = expanded(UNITS, 2)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(samples, [share, 1 - share])), abs=1e-9)
    # A unit whose pairs cannot be predicted is still drawn in its stratum.
    y[3] = np.where(np.arange(COLUMNS) == 0, y[3], np.nan)
    y[np.arange(UNITS) != 3, 0] = np.nan
    for interval in ("jackknife", "expanded"):
        planned = plan_incremental(x, y, range(COLUMNS), HOW.level, interval, strata)
        (within,) = evaluate([planned.within(strata)], HOW)
        assert (within.n, within.pairs) == (UNITS, (UNITS - 1) * (COLUMNS - 1))
        assert within.defined


def test_labels_come_from_the_cells() -> None:
    levels = list(itertools.product(["noise", "drops"], [0.2, 1.0], ["base", "large"]))
    cells = [
        Cell({"perturbation": perturbation, "strength": strength, "model": model})
        for perturbation, strength, model in levels
    ]
    x, y = np.random.default_rng(1).normal(size=(2, 12, 8))
    sample = Sample([x, y], cells, (12,))
    fields = {"x": "M2", "y": "dM3", "where": {}}
    doses = [one[:2] for one in levels]
    expected: dict[str, tuple[dict[str, object], Estimate]] = {
        "within_cell": ({}, within_cell(x, y, range(8), HOW)),
        "incremental": ({"beyond": ["strength", "perturbation"]}, incremental(x, y, doses, HOW)),
        "transfer": ({"leave_out": "model"}, transfer(x, y, [one[2] for one in levels], HOW)),
        "auroc": ({"failure_at": 0.3}, auroc(x, y, 0.3, HOW)),
    }
    for name, (more, estimate) in expected.items():
        estimand = STATISTICS[name].model_validate({"statistic": name, **fields, **more})
        assert evaluate([estimand.plan(sample, HOW)], HOW) == [estimate]
        assert estimate.defined
