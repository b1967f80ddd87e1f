"""The regression net of groups of cells against statsmodels on a long table, and in closed form."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from scipy import stats

from vjepa_stress.statistics.numerics.estimate import Note
from vjepa_stress.verdict.gee import LEAST, gee

Floats = NDArray[np.float64]
DOSES = [("noise", 0.2), ("noise", 1.0), ("noise", 1.0), ("drops", 0.2), ("drops", 1.0), ("drops", 1.0)]


def data(units: int = 40, seed: int = 0) -> tuple[Floats, Floats]:
    """Values with effects of units and doses, and an association within doses."""
    chance = np.random.default_rng(seed)
    dose = np.array([strength for _, strength in DOSES])
    x = 2 * dose + chance.normal(size=(units, 1)) + chance.normal(size=(units, len(DOSES)))
    y = 0.3 * x + 3 * dose + chance.normal(size=(units, 1)) + chance.normal(size=(units, len(DOSES)))
    return x, y


def test_it_is_that_of_statsmodels_on_a_long_table() -> None:
    x, y = data()
    chance = np.random.default_rng(1)
    x[chance.uniform(size=x.shape) < 0.1] = np.nan
    y[chance.uniform(size=x.shape) < 0.1] = np.nan
    y[7] = np.nan
    unit, column = np.indices(x.shape)
    frame = pd.DataFrame(
        {
            "unit": unit.ravel(),
            "dose": [str(DOSES[one]) for one in column.ravel()],
            "x": x.ravel(),
            "y": y.ravel(),
        }
    ).dropna()
    model = smf.gee("y ~ x + C(dose)", "unit", frame, cov_struct=sm.cov_struct.Exchangeable())
    fitted = model.fit()
    found = gee(x, y, DOSES, 0.9)
    assert found.value == pytest.approx(fitted.params["x"], abs=1e-8)
    assert (found.low, found.high) == pytest.approx(tuple(fitted.conf_int(alpha=0.1).loc["x"]), abs=1e-8)
    assert (found.n, found.pairs, found.method) == (39, len(frame), "gee")


def test_a_balanced_case_in_closed_form() -> None:
    """If x sums to 0 in each unit and each group, the working correlation has no effect: b = Σxy/Σx².

    The robust variance is Σ(Σ x·residual)²/(Σx²)², with one inner sum per unit.
    """
    groups = [0, 1, 2, 3]
    x, y = np.random.default_rng(2).normal(size=(2, 30, 4))
    x -= x.mean(0)
    x -= x.mean(1, keepdims=True)
    y += 0.5 * x + np.arange(4)
    slope = (x * y).sum() / (x**2).sum()
    residuals = y - y.mean(0) - slope * x
    error = np.sqrt(((x * residuals).sum(1) ** 2).sum()) / (x**2).sum()
    found = gee(x, y, groups, 0.95)
    z = stats.norm.ppf(0.975)
    assert found.value == pytest.approx(slope, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((slope - z * error, slope + z * error), abs=1e-7)


def test_doses_do_not_count() -> None:
    """Adding anything to all values of a dose changes nothing."""
    x, y = data()
    shift = {dose: (n, -3.0 * n) for n, dose in enumerate(dict.fromkeys(DOSES))}
    other = gee(x + [shift[dose][0] for dose in DOSES], y + [shift[dose][1] for dose in DOSES], DOSES, 0.95)
    one = gee(x, y, DOSES, 0.95)
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-6)


def test_scale_does_not_count() -> None:
    x, y = data()
    one, other = gee(x, y, DOSES, 0.95), gee(1e-20 * x, 1e8 * y - 1e8, DOSES, 0.95)
    assert (one.value, one.low, one.high) == pytest.approx(
        tuple(end and 1e-28 * end for end in (other.value, other.low, other.high)), rel=1e-6
    )


def test_it_is_skipped_with_a_reason() -> None:
    x, y = data(LEAST)
    assert gee(x, y, DOSES, 0.95).defined
    few = gee(x[1:], y[1:], DOSES, 0.95)
    assert (few.defined, few.notes, few.n) == (False, (Note(code="few-units", value=LEAST),), LEAST - 1)
    only_dose = np.tile([0.1 * strength + len(name) for name, strength in DOSES], (LEAST, 1))
    assert gee(only_dose, y, DOSES, 0.95).notes == (Note(code="constant"),)
    assert gee(x, np.full_like(y, np.nan), DOSES, 0.95).notes == (Note(code="few-units", value=LEAST),)


def test_equations_that_are_not_solved_have_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps are too few for unbalanced data."""
    x, y = data()
    x[::2, 3:] = np.nan
    assert gee(x, y, DOSES, 0.95).defined
    monkeypatch.setattr(sm.GEE, "fit", functools.partialmethod(sm.GEE.fit, maxiter=2, ctol=1e-14))
    found = gee(x, y, DOSES, 0.95)
    assert (found.value, found.notes) == (None, (Note(code="no-fit"),))


def test_one_pair_per_unit_needs_no_working_correlation() -> None:
    x, y = data()
    found, line = gee(x[:, :1], y[:, :1], DOSES[:1], 0.95), stats.linregress(x[:, 0], y[:, 0])
    assert found.value == pytest.approx(line.slope, abs=1e-10)
    assert (found.high or 0) - (found.low or 0) == pytest.approx(2 * 1.96 * line.stderr, rel=0.3)
