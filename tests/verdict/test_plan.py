"""Estimands on tables: which cells and rows they read, what they join, what they refuse."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from tests.verdict import sketch
from vjepa_stress.design import Cell, Where
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.report import words
from vjepa_stress.statistics import Estimand, Statistic
from vjepa_stress.statistics.difference import plan_difference
from vjepa_stress.statistics.mean import plan_mean
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, evaluate
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.ratio_of_means import plan_ratio
from vjepa_stress.verdict import estimate
from vjepa_stress.verdict.evaluate import for_control
from vjepa_stress.verdict.plan import compute
from vjepa_stress.verdict.table import Table

HOW = Resampling(resamples=1000, seed=5)
ESTIMAND: TypeAdapter[Statistic] = TypeAdapter(Estimand)
STRENGTHS = [0.2, 0.6, 1.0]
GRADED = ["noise", "drops"]
DESIGN = sketch.design(
    sketch.cells(["ssv2", "davis"], ["base", "large", "giant", "twin"], [*GRADED, "reverse"], STRENGTHS),
    clips={"ssv2": 20, "davis": 8},
    controls=["twin"],
)
MEAN: dict[str, Any] = {"statistic": "mean", "metric": "M2", "where": {"perturbation": ["noise"]}}


def study(**estimands: dict[str, Any]) -> Preregistration:
    """A study whose one hypothesis has these estimands."""
    parts = [sketch.reading(name, estimand) for name, estimand in estimands.items()]
    return sketch.document(DESIGN, [sketch.hypothesis("H1", estimands, {"kind": "all_of", "of": parts})])


DOCUMENT = study(mean=MEAN)
TABLE = sketch.table(DOCUMENT)


def found(estimand: dict[str, Any], table: Table = TABLE, *, strict: bool = True) -> Estimate:
    document = study(asked=estimand)  # which checks that it fits
    return compute(document.hypotheses[0].estimands["asked"], table, document.design, HOW, strict=strict)


def values(metric: str = "M2", /, **where: Any) -> np.ndarray:
    """Values by an independent look at the cells; clips of other data sets left out."""
    chosen = [
        column
        for column, cell in enumerate(sketch.video(TABLE.cells))
        if all(getattr(cell, name) in wanted for name, wanted in where.items())
        and (cell.model != "twin" or "model" in where)
    ]
    part = TABLE.values[metric][:, chosen]
    return part[np.isfinite(part).any(axis=1)]


def near(expected: Estimate) -> Any:
    """The same up to rounding: some BLAS add up numbers otherwise when they lie otherwise in memory.

    And without notes: a clip that has no row in a cell of another data set is no value left out.
    """
    return pytest.approx(expected.model_dump(exclude={"notes"}), abs=1e-12)


def of_both(planned: PendingEstimate | Estimate, davis: int = 8, ssv2: int = 20) -> Estimate:
    """An estimate over both data sets, whose clips are drawn within their data set."""
    assert isinstance(planned, PendingEstimate)
    return evaluate([planned.within((davis, ssv2))], HOW)[0]


def test_filters_and_arguments_reach_the_statistics() -> None:
    noise, drops = {"perturbation": ["noise"]}, {"perturbation": ["drops"]}
    assert found(MEAN).model_dump() == near(of_both(plan_mean(values(**noise))))
    where = {**noise, "model": ["twin"], "dataset": ["davis"]}
    expected = estimate.bootstrap_mean(values(**where), HOW)
    assert found({**MEAN, "where": where}).model_dump() == near(expected)
    assert expected.n == 8
    assert expected.method == "expanded"
    assert words.method(expected) == "bootstrap over clips, percentiles at an expanded level"
    sides = (values(**noise), values(**drops))
    ratio = {"statistic": "ratio_of_means", "metric": "M2", "numerator": noise, "denominator": drops}
    assert found(ratio).model_dump() == near(of_both(plan_ratio(*sides)))
    difference = {"statistic": "difference", "metric": "M2", "of": noise, "minus": drops}
    assert found(difference).model_dump() == near(of_both(plan_difference(*sides)))
    where = {**noise, "dataset": ["ssv2"]}
    strengths = STRENGTHS * 3  # models come before strengths
    expected = estimate.trend(values(**where), strengths, HOW)
    trend = {"statistic": "trend", "along": "strength", "metric": "M2", "where": where}
    rise = found(trend)
    assert rise.model_dump(exclude={"overall"}) == near(expected.model_copy(update={"overall": None}))
    assert rise.overall is not None
    assert expected.overall is not None
    assert rise.overall.model_dump() == pytest.approx(expected.overall.model_dump(), abs=1e-12)
    floor = {"statistic": "maximum", "metric": "M1", "where": noise}
    assert found(floor).value == values("M1", **noise)[np.isfinite(values("M1", **noise))].max()


def test_correlations_join_two_metrics_by_clip_and_cell() -> None:
    where = {"dataset": ["davis"], "perturbation": GRADED}
    x, y = values("M2", **where), values("dM3", **where)
    asked = {"statistic": "pearson", "x": "M2", "y": "dM3", "where": where}
    assert found(asked) == estimate.pearson(x, y, HOW, interval="jackknife")
    assert (found(asked).n, found(asked).pairs) == (8, 8 * 3 * 2 * 3)
    assert found({**asked, "statistic": "spearman", "interval": "expanded"}) == estimate.spearman(x, y, HOW)


def test_jumps_take_models_in_the_order_given() -> None:
    where = {"dataset": ["ssv2"], "perturbation": ["noise"]}
    asked = {
        "statistic": "jumps",
        "metric": "M2",
        "along": "model",
        "levels": ["giant", "base", "large"],
        "where": where,
    }
    expected = estimate.jumps([values(**where, model=[name]) for name in asked["levels"]], HOW, interval="max-t")
    assert found(asked) == expected
    assert len(expected.steps) == 2


def filtered(metric: str, keep: np.ndarray) -> np.ndarray:
    chosen = [
        n for n, cell in enumerate(sketch.video(TABLE.cells)) if cell.perturbation == "noise" and cell.model != "twin"
    ]
    part = np.where(keep[:, chosen], TABLE.values[metric][:, chosen], np.nan)
    return part[np.isfinite(part).any(axis=1)]


def test_rows_are_filtered_by_any_column() -> None:
    def asked(*rows: dict[str, Any]) -> dict[str, Any]:
        return {**MEAN, "where": {**MEAN["where"], "rows": rows}}

    m1, n = TABLE.values["M1"], TABLE.values["M2_n"]
    some = found(asked({"column": "M2_n", "at_least": 3}, {"column": "M1", "at_most": 0.5}))
    keep, in_davis = (n >= 3) & (m1 <= 0.5), np.arange(len(TABLE.units))[:, None] < 8
    sizes = [len(filtered("M2", keep & part)) for part in (in_davis, ~in_davis)]
    assert some.model_dump() == near(of_both(plan_mean(filtered("M2", keep)), *sizes))
    assert some.notes == ()  # rows that a filter leaves out do not count as missing
    assert found(asked({"column": "M2_n", "equals": 4})).value == pytest.approx(
        np.nanmean(filtered("M2", n == 4)), abs=1e-12
    )
    one = TABLE.units[3]
    this = np.array([[clip == one] * len(TABLE.cells) for clip in TABLE.units])
    of_one = found({**asked({"column": "clip", "equals": one}), "statistic": "maximum"})
    assert of_one.value == np.nanmax(filtered("M2", this))
    assert of_one.n == 1


def test_a_row_that_nobody_can_place_is_a_hole() -> None:
    holed = {**TABLE.values, "M1": TABLE.values["M1"].copy()}
    column = next(
        n for n, cell in enumerate(sketch.video(TABLE.cells)) if cell.perturbation == "noise" and cell.model == "base"
    )
    row = int(np.flatnonzero(TABLE.present[:, column])[0])
    holed["M1"][row, column] = np.nan
    table = Table(TABLE.cells, TABLE.units, holed, TABLE.present)
    asked = {**MEAN, "where": {**MEAN["where"], "rows": [{"column": "M1", "at_least": 0.1}]}}
    assert not found(asked, table).defined
    hole = found(asked, table).notes
    assert hole == (Note(code="undefined-values", value=1, columns=("M2",)),)
    assert words.note(hole[0]) == "1 undefined values of M2"
    lenient = found(asked, table, strict=False)
    assert lenient.defined
    assert lenient.notes == (Note(code="values-left-out", value=1),)


def test_a_hole_makes_an_estimate_undefined_or_is_left_out() -> None:
    holed = {name: part.copy() for name, part in TABLE.values.items()}
    column = next(
        n for n, cell in enumerate(sketch.video(TABLE.cells)) if cell.perturbation == "noise" and cell.model == "base"
    )
    row = int(np.flatnonzero(TABLE.present[:, column])[0])
    holed["M2"][row, column] = np.nan
    table = Table(TABLE.cells, TABLE.units, holed, TABLE.present)
    pair = {
        "statistic": "pearson",
        "x": "dM3",
        "y": "M2",
        "where": {"perturbation": ["noise"]},
    }
    jump = {
        "statistic": "jumps",
        "metric": "M2",
        "along": "model",
        "levels": ["base", "giant"],
        "where": MEAN["where"],
    }
    for asked in (MEAN, pair, jump):
        assert not found(asked, table).defined
        lenient = found(asked, table, strict=False)
        assert lenient.notes == (Note(code="values-left-out", value=1),)
        assert words.notes(lenient) == "1 undefined values left out"
    assert found(pair, table, strict=False).pairs == 28 * 3 * 3 - 1


def shards(rows: int = 12) -> dict[Cell, pa.Table]:
    chance, found = np.random.default_rng(1), dict[Cell, pa.Table]()
    for cell in sketch.video(DOCUMENT.design.cells):
        clips = [f"{cell.dataset}-{n}" for n in range(rows)]
        metrics = {name: chance.uniform(size=rows) for name in sketch.METRICS}
        counts = {f"{name}_n": chance.integers(0, 5, rows) for name in sketch.METRICS}
        flags = {"non_finite": np.zeros(rows, dtype=bool)}
        found[cell] = pa.table({"clip": clips, **metrics, **counts, **flags})
    return found


def test_shuffled_rows_and_shards_change_nothing() -> None:
    straight, chance = shards(), np.random.default_rng(3)
    cells = list(straight)
    turned = {cells[n]: straight[cells[n]] for n in chance.permutation(len(cells))}
    turned = {cell: shard.take(chance.permutation(len(shard))) for cell, shard in turned.items()}
    tables = [Table.of(part, tuple(sketch.METRICS), excluded=frozenset({"davis-3"})) for part in (straight, turned)]
    assert tables[0].units == tables[1].units
    assert "davis-3" not in tables[0].units
    condition = {"column": "M2_n", "at_least": 1}
    asked = [
        MEAN,
        {**MEAN, "where": {**MEAN["where"], "rows": [condition, {"column": "non_finite", "equals": False}]}},
        {"statistic": "pearson", "x": "dM3", "y": "M2", "where": {"perturbation": GRADED}},
        {"statistic": "spearman", "x": "dM3", "y": "M2", "where": {"perturbation": GRADED}},
        {"statistic": "jumps", "metric": "M2", "along": "model", "levels": ["base", "giant"], "where": MEAN["where"]},
        {"statistic": "trend", "along": "strength", "metric": "M2", "where": MEAN["where"]},
    ]
    for one in asked:
        first, second = (found(one, table) for table in tables)
        assert first.defined
        assert first.model_dump_json() == second.model_dump_json()


@pytest.mark.parametrize(
    ("estimand", "text"),
    [
        ({**MEAN, "metric": "M9"}, "unknown metric 'M9'"),
        ({**MEAN, "where": {"perturbation": ["blur"]}}, "selects no cell"),
        ({**MEAN, "where": {"rows": [{"column": "M9_n", "at_least": 1}]}}, "unknown column 'M9_n'"),
        ({**MEAN, "where": {"rows": [{"column": "clip", "at_least": 1}]}}, "only `clip` can equal a string"),
        ({**MEAN, "where": {"rows": [{"column": "M1", "equals": "x"}]}}, "only `clip` can equal a string"),
        ({**MEAN, "where": {"rows": [{"column": "M1"}]}}, "either `equals`, or"),
        ({**MEAN, "where": {"rows": [{"column": "M1", "equals": 1, "at_most": 2}]}}, "either `equals`, or"),
        ({**MEAN, "where": {"rows": [{"column": "M1", "at_least": 2, "at_most": 1}]}}, "is above `at_most`"),
        ({**MEAN, "where": {"rows": []}}, "at least 1"),
        ({"statistic": "pearson", "x": "M1", "y": "M1", "where": {}}, "two different metrics"),
        ({"statistic": "spearman", "x": "M1", "y": "M9", "where": {}}, "unknown metric 'M9'"),
        ({"statistic": "difference", "metric": "M1", "of": {}, "minus": {}}, "the same filter"),
        (
            {"statistic": "difference", "metric": "M1", "of": {}, "minus": {"model": ["base", "large", "giant"]}},
            "both filters select the same cells",
        ),
        ({"statistic": "jumps", "metric": "M1", "along": "model", "levels": ["base"], "where": {}}, "at least 2"),
        (
            {"statistic": "jumps", "metric": "M1", "along": "model", "levels": ["base", "base"], "where": {}},
            "duplicate levels",
        ),
        (
            {"statistic": "jumps", "metric": "M1", "along": "model", "levels": ["base", "huge"], "where": {}},
            "selects no cell",
        ),
        (
            {
                "statistic": "jumps",
                "metric": "M1",
                "along": "model",
                "levels": ["base", "large"],
                "where": {"model": ["base"]},
            },
            "remove model from the filter",
        ),
    ],
)
def test_estimands_that_are_none(estimand: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        study(asked=estimand)


def test_jumps_compare_the_same_cells() -> None:
    chosen = sketch.cells(["ssv2"], ["base"], ["noise"], STRENGTHS) + sketch.cells(
        ["ssv2"], ["large"], ["noise"], [1]
    )
    uneven = sketch.design(chosen, clips={"ssv2": 20})
    jump = {"statistic": "jumps", "metric": "M1", "along": "model", "levels": ["base", "large"], "where": {}}
    with pytest.raises(ValidationError, match="base and large do not have the same cells"):
        sketch.document(uneven, [sketch.hypothesis("H1", {"x": jump}, sketch.reading("x", jump))])


def test_what_an_estimand_of_a_control_is() -> None:
    def control(estimand: dict[str, Any]) -> Statistic | None:
        return for_control(ESTIMAND.validate_python(estimand), "twin", DOCUMENT.design)

    mean = control({**MEAN, "where": {"model": ["base"], "perturbation": ["noise"]}})
    assert mean == ESTIMAND.validate_python({**MEAN, "where": {"model": ["twin"], "perturbation": ["noise"]}})
    pearson = control({"statistic": "pearson", "x": "M2", "y": "dM3", "where": {}})
    assert pearson is not None
    (where,) = pearson.filters()
    assert where.levels == {"model": ("twin",)}
    noise, drops = {"perturbation": ["noise"]}, {"perturbation": ["drops"]}
    assert control({"statistic": "difference", "metric": "M2", "of": noise, "minus": drops}) is not None
    # What compares models has nothing to say of one model.
    across = {"of": {**noise, "model": ["base"]}, "minus": {**noise, "model": ["twin"]}}
    assert control({"statistic": "difference", "metric": "M2", **across}) is None
    assert (
        control({"statistic": "jumps", "metric": "M2", "along": "model", "levels": ["base", "large"], "where": noise})
        is None
    )


def test_filters_are_written_as_they_are_read() -> None:
    """What is not named is not written."""
    assert Where().model_dump() == {}
    assert Where.model_validate({"model": ["base"]}).model_dump(mode="json") == {"model": ["base"]}
    rows = Where.model_validate({"rows": [{"column": "M1", "at_least": 0}]})
    assert "rows" in rows.model_dump()
    assert Where.model_validate_json(rows.model_dump_json()) == rows
