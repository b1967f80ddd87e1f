"""Clips of one source are not independent: they stay together in resamples, within their stratum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from tests.verdict import sketch
from vjepa_stress.design import Design
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.statistics import Estimand, Statistic
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, evaluate
from vjepa_stress.statistics.numerics.resample import Resampling, resample, unit_counts
from vjepa_stress.verdict.partition import partition
from vjepa_stress.verdict.plan import EstimationPlan, compute
from vjepa_stress.verdict.table import Table
from vjepa_stress.verdict.worlds import skeleton

HOW = Resampling(resamples=1000, seed=5)
ESTIMAND: TypeAdapter[Statistic] = TypeAdapter(Estimand)
CELLS = sketch.cells(["ssv2", "davis"], ["base", "large"], ["noise", "drops"], [0.2, 0.6, 1.0])
NOISE, DROPS = {"perturbation": ["noise"]}, {"perturbation": ["drops"]}
MEAN: dict[str, Any] = {"statistic": "mean", "metric": "M2", "where": NOISE}
ESTIMANDS: list[dict[str, Any]] = [
    MEAN,
    {"statistic": "difference", "metric": "M2", "of": NOISE, "minus": DROPS},
    {"statistic": "ratio_of_means", "metric": "M2", "numerator": NOISE, "denominator": DROPS},
    {"statistic": "trend", "metric": "M2", "along": "strength", "where": NOISE},
    {"statistic": "spearman", "x": "M2", "y": "dM3", "where": NOISE},
    {"statistic": "maximum", "metric": "M2", "where": NOISE},
    {"statistic": "jumps", "metric": "M2", "along": "model", "levels": ["base", "large"], "where": NOISE},
]


def study(clips: dict[str, int], sources: dict[str, int]) -> Preregistration:
    hypothesis = sketch.hypothesis("H1", {"x": MEAN}, sketch.reading("x", MEAN))
    return sketch.document(sketch.design(CELLS, clips=clips, sources=sources), [hypothesis])


THIRDS = study({"ssv2": 20, "davis": 12}, {"ssv2": 10, "davis": 4})


def found(estimand: dict[str, Any], table: Table, design: Design = THIRDS.design, *, strict: bool = True) -> Estimate:
    return compute(ESTIMAND.validate_python(estimand), table, design, HOW, strict=strict)


def of(dataset: str, estimand: dict[str, Any]) -> dict[str, Any]:
    """The estimand on one data set."""
    return {
        name: {**part, "dataset": [dataset]} if isinstance(part, dict) else part for name, part in estimand.items()
    }


def numbers(estimate: Estimate) -> list[Any]:
    """The value and the ends of an estimate and of its steps, and the number of sources."""
    return [getattr(one, name) for one in (estimate, *estimate.steps) for name in ("value", "low", "high", "n")]


def test_a_mean_resamples_sums_of_sources() -> None:
    table, where = sketch.table(THIRDS), {**NOISE, "dataset": ["davis"]}
    plan = EstimationPlan.of(ESTIMAND.validate_python({**MEAN, "where": where}), table, THIRDS.design)
    planned = plan.read(table, HOW, strict=True)
    assert isinstance(planned, PendingEstimate)
    (((value, samples),),) = resample([planned.statistic], HOW)
    values = table.values["M2"][:, table.columns(plan.cells)]
    sums = values[np.isfinite(values).all(axis=1)].reshape(4, -1).sum(axis=1)  # three clips of each of four sources
    drawn = unit_counts(4, HOW.resamples, HOW.seed)
    assert value == pytest.approx(sums.sum() / 12 / 6, abs=1e-12)
    assert samples == pytest.approx(drawn @ sums / 12 / 6, abs=1e-12)
    assert found(of("davis", MEAN), table).n == 4


def test_sources_with_more_clips_have_more_weight() -> None:
    """Rows are padded, and padding is no missing value."""
    base, sizes = sketch.table(THIRDS), (1, 2, 6, 3)
    names = [f"davis-{n}" for n, size in enumerate(sizes) for _ in range(size)]
    table = Table(base.cells, base.units, base.values, base.present, (*names, *base.units[12:]))
    plan = EstimationPlan.of(ESTIMAND.validate_python(of("davis", MEAN)), table, THIRDS.design)
    planned = plan.read(table, HOW, strict=True)
    assert isinstance(planned, PendingEstimate)
    assert not planned.notes
    (((value, samples),),) = resample([planned.statistic], HOW)
    values = base.values["M2"][:12, base.columns(plan.cells)]
    owner = np.repeat(range(4), sizes)
    sums, counts = (np.bincount(owner, part) for part in (values.sum(axis=1), np.full(12, 6)))
    drawn = unit_counts(4, HOW.resamples, HOW.seed)
    assert value == pytest.approx(values.mean(), abs=1e-12)
    assert samples == pytest.approx((drawn @ sums) / (drawn @ counts), abs=1e-12)


@pytest.mark.parametrize("estimand", ESTIMANDS, ids=lambda one: one["statistic"])
def test_a_clip_twice_is_no_more_evidence(estimand: dict[str, Any]) -> None:
    single = study({"ssv2": 20, "davis": 12}, {"ssv2": 20, "davis": 12})
    once = sketch.table(single)
    units = tuple(name + end for name in once.units for end in ("", "+"))
    values = {name: part.repeat(2, axis=0) for name, part in once.values.items()}
    sources = tuple(name for name in once.units for _ in range(2))
    twice = Table(once.cells, units, values, once.present.repeat(2, axis=0), sources)
    for asked in (estimand, of("davis", estimand) if "where" in estimand else estimand):
        assert numbers(found(asked, twice)) == pytest.approx(numbers(found(asked, once, single.design)), abs=1e-9)


@pytest.mark.parametrize("estimand", ESTIMANDS, ids=lambda one: one["statistic"])
def test_the_order_of_rows_and_the_names_of_sources_have_no_effect(estimand: dict[str, Any]) -> None:
    table, chance = sketch.table(THIRDS), np.random.default_rng(3)
    shards = {}
    for column, cell in enumerate(table.cells):
        rows = chance.permutation(np.flatnonzero(table.present[:, column]))
        values = {name: table.values[name][rows, column] for name in sketch.METRICS}
        shards[cell] = pa.table({"clip": [table.units[row] for row in rows], **values})
    renamed = {name: source[::-1] for name, source in zip(table.units, table.sources, strict=True)}
    again = Table.of(shards, tuple(sketch.METRICS), sources=renamed)
    assert found(estimand, again) == found(estimand, table)


def test_units_without_a_source_are_their_own() -> None:
    table = sketch.table(THIRDS)
    plain = Table(table.cells, table.units, table.values, table.present)
    assert plain.sources == plain.units
    named = Table(table.cells, table.units, table.values, table.present, table.units[::-1])
    for estimand in ESTIMANDS:
        assert found(of("ssv2", estimand), plain) == found(of("ssv2", estimand), named)
    assert found(of("ssv2", MEAN), plain).n == 20


def test_rows_are_ordered_by_stratum() -> None:
    """The number of sources of each data set is the same in every resample."""
    base, chance = sketch.table(THIRDS), np.random.default_rng(4)
    order = chance.permutation(len(base.units))
    table = Table(
        base.cells,
        base.units,
        {name: part[order] for name, part in base.values.items()},
        base.present[order],
        tuple(base.sources[n] for n in order),
    )
    plan = EstimationPlan.of(ESTIMAND.validate_python(MEAN), table, THIRDS.design)
    assert plan.rows.strata == (4, 10)  # davis, ssv2
    assert plan.rows.width == 3
    names = np.array(table.sources)[plan.rows.units].reshape(14, 3)
    assert [name[0].split("-")[0] for name in names] == ["davis"] * 4 + ["ssv2"] * 10
    assert all(len(set(name)) == 1 for name in names[:4])
    assert plan.rows.padding is not None
    assert plan.rows.padding.reshape(14, 3).sum(axis=1).tolist() == [0] * 4 + [1] * 10
    of_one = EstimationPlan.of(ESTIMAND.validate_python(of("ssv2", MEAN)), table, THIRDS.design)
    assert of_one.rows.strata == (10,)


def test_a_source_of_two_data_sets_is_one_row() -> None:
    table = sketch.table(THIRDS)
    shared = tuple("shared" if name in ("davis-000", "ssv2-000") else name for name in table.units)
    mixed = Table(table.cells, table.units, table.values, table.present, shared)
    assert found(MEAN, mixed).n == 31
    plan = EstimationPlan.of(ESTIMAND.validate_python(MEAN), mixed, THIRDS.design)
    assert plan.rows.strata == (12, 19)


def test_missing_values_are_counted_as_before() -> None:
    table = sketch.table(THIRDS)
    holed = {**table.values, "M2": table.values["M2"].copy()}
    columns = table.columns([cell for cell in table.cells if cell["perturbation"] == "noise"])
    holed["M2"][0, columns] = np.nan  # a clip of one source has no value left
    lost = Table(table.cells, table.units, holed, table.present, table.sources)
    strict, lenient = (found(of("davis", MEAN), lost, strict=strict) for strict in (True, False))
    assert strict.value is None
    assert [(note.code, note.value) for note in strict.notes] == [("undefined-values", 6)]
    assert [(note.code, note.value) for note in lenient.notes] == [("values-left-out", 6)]
    assert lenient.n == 4  # two clips of the source remain
    assert lenient.value == pytest.approx(np.nanmean(holed["M2"][:12, columns]), abs=1e-12)


def coverage(sources: tuple[str, ...], within: float) -> float:
    """Share of 95 % intervals that hold the mean of normal values; 2000 studies, three clips of each source."""
    clips = {"davis": len(sources)}
    chosen = sketch.cells(["davis"], ["base"], ["noise"], [1.0])
    document = sketch.document(
        sketch.design(chosen, clips=clips), [sketch.hypothesis("H1", {"x": MEAN}, sketch.reading("x", MEAN))]
    )
    chance, held = np.random.default_rng(7), 0
    (cell,) = document.design.cells
    units = tuple(f"{n:03}" for n in range(len(sources)))
    present: NDArray[np.bool_] = np.ones((len(units), 1), dtype=bool)
    plan = EstimationPlan.of(
        document.hypotheses[0].estimands["x"], Table((cell,), units, {}, present, sources), document.design
    )
    for _ in range(2000):
        shared = chance.normal(0, within**0.5, len(units) // 3).repeat(3)
        values = shared + chance.normal(0, (1 - within) ** 0.5, len(units))
        table = Table((cell,), units, {"M2": values[:, None]}, present, sources)
        (estimate,) = evaluate([plan.read(table, HOW, strict=True)], HOW)
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= 0 <= estimate.high
    return held / 2000


def test_intervals_cover_when_clips_of_a_source_are_alike() -> None:
    together = tuple(f"{n // 3:03}" for n in range(120))
    assert 0.93 <= coverage(together, 0.9) <= 0.97
    apart = tuple(f"{n:03}" for n in range(120))
    assert coverage(apart, 0.9) < 0.82
    assert 0.93 <= coverage(apart, 0.0) <= 0.97


def test_simulated_units_are_distributed_over_the_registered_sources() -> None:
    table = skeleton(THIRDS.design, THIRDS.design.cells)
    sizes = np.unique(table.sources, return_counts=True)
    assert len(sizes[0]) == 14
    assert sorted(sizes[1].tolist()) == [2] * 10 + [3] * 4
    assert (
        found(MEAN, Table(table.cells, table.units, sketch.table(THIRDS).values, table.present, table.sources)).n
        == 14
    )


def test_a_design_has_no_more_sources_than_clips() -> None:
    assert THIRDS.design.count_sources("davis") == 4
    with pytest.raises(ValidationError, match="12 clips cannot have 13 sources"):
        study({"ssv2": 20, "davis": 12}, {"ssv2": 20, "davis": 13})


def test_partition_resamples_sources() -> None:
    cells = sketch.cells(["davis"], ["base"], ["noise", "drops"], [0.2, 1.0])
    hypothesis = sketch.hypothesis("H1", {"x": MEAN}, sketch.reading("x", MEAN))
    document = sketch.document(sketch.design(cells, clips={"davis": 12}), [hypothesis])
    once = sketch.table(document)
    twice = Table(
        once.cells,
        tuple(name + end for name in once.units for end in ("", "+")),
        {name: part.repeat(2, axis=0) for name, part in once.values.items()},
        once.present.repeat(2, axis=0),
        tuple(name for name in once.units for _ in range(2)),
    )
    design: Any = document.design
    single, double = (partition(table, design, HOW) for table in (once, twice))
    assert single is not None
    assert double is not None
    for one, other in zip(single.correlations, double.correlations, strict=True):
        assert (other.pairs, other.clips) == (2 * one.pairs, 2 * one.clips)
        assert numbers(other.cluster) == pytest.approx(numbers(one.cluster), abs=1e-9)
