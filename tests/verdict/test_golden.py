"""Every expected number of `golden/e_stats`, computed there by scipy and statsmodels."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vjepa_stress.statistics.mean import plan_mean
from vjepa_stress.statistics.numerics.estimate import Estimate, PendingEstimate, finish
from vjepa_stress.statistics.numerics.resample import Resampling, bca_ends, counts_of, percentile_ends, resample_with
from vjepa_stress.statistics.pearson import plan_pearson
from vjepa_stress.verdict.estimate import (
    bootstrap_mean,
    cluster_bootstrap,
    fisher_ci,
    jumps,
    pearson,
    ratio_of_means,
    spearman,
    trend,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "e_stats"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
STORED = np.load(GOLDEN / "boot_idx.npz")
HOW = Resampling(resamples=9999, seed=7)
MODELS = EXPECTED["models_small_to_large"]
CELL = ("model", "perturbation", "strength", "metric")

Table = NDArray[np.float64]


def read_rows() -> dict[tuple[str, str, float, str], dict[str, float]]:
    """Values by cell and metric, then by clip."""
    rows: dict[tuple[str, str, float, str], dict[str, float]] = {}
    with (GOLDEN / "shards.csv").open() as file:
        for row in csv.DictReader(file):
            key = (row["model"], row["perturbation"], float(row["strength"]), row["metric"])
            rows.setdefault(key, {})[row["clip_id"]] = float(row["value"])
    return rows


ROWS = read_rows()
CLIPS = [str(name) for name in STORED["clips"]]
STRENGTHS = sorted({strength for _, _, strength, _ in ROWS})
PERTURBATIONS = sorted({perturbation for _, perturbation, _, _ in ROWS})


def table(metric: str, models: list[str], perturbations: list[str], strengths: list[float]) -> Table:
    """(clips, cells), clips sorted, NaN where a row is missing."""
    cells = [(m, p, s, metric) for m in models for p in perturbations for s in strengths]
    return np.array([[ROWS[cell].get(clip, np.nan) for cell in cells] for clip in CLIPS])


def present(values: Table) -> Table:
    return values[np.isfinite(values)]


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def named(section: str) -> list[Any]:
    """The entries of a section as test cases with readable names."""
    keys = ("model", "numerator", "frm", "perturbation", "metric", "strength", "case", "r_published")
    return [
        pytest.param(entry, id="-".join(str(entry[key]) for key in keys if key in entry))
        for entry in EXPECTED[section]
    ]


@pytest.mark.parametrize("entry", named("cell_means"))
def test_cell_means(entry: dict[str, Any]) -> None:
    values = np.array([value for _, value in sorted(ROWS[tuple(entry[key] for key in CELL)].items())])
    half = (entry["t_ci95"][1] - entry["t_ci95"][0]) / 2
    for interval, key in (("percentile", "bootstrap_percentile"), ("bca", "bootstrap_BCa")):
        found = bootstrap_mean(values, HOW, interval=interval)  # type: ignore[arg-type]
        assert found.value == pytest.approx(entry["mean"], abs=1e-10)
        assert found.n == entry["n"]
        assert ends(found) == pytest.approx(entry[key]["mean_of_5_seeds"], abs=0.08 * half)


def statistics(values: Table) -> dict[str, Any]:
    """Mean, median and standard deviation of rows, (rows, n) → (rows,)."""
    return {"mean": values.mean(1), "median": np.median(values, axis=1), "sd_ddof1": values.std(1, ddof=1)}


@pytest.mark.parametrize("statistic", ["mean", "median", "sd_ddof1"])
def test_exact_resamples(statistic: str) -> None:
    cell = EXPECTED["exact_resamples"]["cell"]
    entry = EXPECTED["exact_resamples"]["stats"][statistic]
    values = np.array([value for _, value in sorted(ROWS[tuple(cell[key] for key in CELL)].items())])
    samples = statistics(values[STORED["idx"]])[statistic]
    left_out = statistics(np.stack([np.delete(values, n) for n in range(len(values))]))[statistic]
    value = statistics(values[None])[statistic][0]
    assert value == pytest.approx(entry["estimate"], abs=1e-9)
    assert percentile_ends(samples, 0.95) == pytest.approx(entry["percentile95"], abs=1e-9)
    assert bca_ends(value, samples, left_out, 0.95) == pytest.approx(entry["bca95"], abs=1e-9)


def given(asked: PendingEstimate | Estimate, drawn: NDArray[np.uint8]) -> tuple[Estimate, Table]:
    """The answer to an open question and its resamples, drawn as given."""
    assert isinstance(asked, PendingEstimate)
    found = resample_with(counts_of(drawn, asked.statistic.units), [asked.statistic])
    (answered,) = finish([asked], iter([found]), 0.95)
    return answered, found[0][1]


def test_exact_resamples_through_the_engine() -> None:
    cell = EXPECTED["exact_resamples"]["cell"]
    entry = EXPECTED["exact_resamples"]["stats"]["mean"]
    values = np.array([value for _, value in sorted(ROWS[tuple(cell[key] for key in CELL)].items())])
    for interval, key in (("percentile", "percentile95"), ("bca", "bca95")):
        found, samples = given(plan_mean(values, interval), STORED["idx"])  # type: ignore[arg-type]
        assert ends(found) == pytest.approx(entry[key], abs=1e-9)
    assert samples.std(ddof=1) == pytest.approx(entry["bootstrap_se_ddof1"], abs=1e-9)


@pytest.mark.parametrize("entry", EXPECTED["cluster_bootstrap"]["results"])
def test_cluster_bootstrap(entry: dict[str, Any]) -> None:
    values = table(entry["metric"], [entry["model"]], PERTURBATIONS, STRENGTHS)
    assert np.isfinite(values).sum() == entry["n_rows"]
    weighted = {"row_weighted": values, "clip_weighted": np.nanmean(values, axis=1)}
    for key, weighing in weighted.items():
        found, samples = given(plan_mean(weighing, "percentile"), STORED["cluster_idx"])
        assert found.value == pytest.approx(entry[key]["estimate"], abs=1e-9)
        assert ends(found) == pytest.approx(entry[key]["percentile95"], abs=1e-9)
        assert samples.std(ddof=1) == pytest.approx(entry[key]["se"], abs=1e-9)
        # The public function, with its own resamples, from rows in any order.
        chosen = np.random.default_rng(0).permutation(np.argwhere(np.isfinite(values)))
        clips = np.array(CLIPS)[chosen[:, 0]]
        again = cluster_bootstrap(values[*chosen.T], clips, HOW, weighting=key.split("_")[0])  # type: ignore[arg-type]
        assert again.value == pytest.approx(entry[key]["estimate"], abs=1e-9)
        assert ends(again) == pytest.approx(entry[key]["percentile95"], abs=0.16 * entry[key]["se"])


@pytest.mark.parametrize("pair", EXPECTED["pearson"])
def test_pearson(pair: str) -> None:
    entry = EXPECTED["pearson"][pair]
    x, y = pair.split("~")
    for where in [*PERTURBATIONS, "pooled_rows"]:
        chosen = PERTURBATIONS if where == "pooled_rows" else [where]
        left, right = (table(metric, MODELS, chosen, STRENGTHS) for metric in (x, y))
        found = pearson(left, right)
        assert found.value == pytest.approx(entry[where]["r"], abs=1e-9)
        assert ends(found) == pytest.approx(entry[where]["fisher_ci95"], abs=1e-9)
        assert found.n == entry[where]["n"]
    found, _ = given(plan_pearson(left, right, 0.95, "percentile"), STORED["cluster_idx"])
    expected = entry["pooled_rows_cluster_bootstrap_percentile95"]
    assert ends(found) == pytest.approx(expected, abs=1e-9)
    clip, cell = np.nonzero(np.isfinite(left))
    flat = pearson(left[clip, cell], right[clip, cell], HOW, interval="cluster", clips=clip)
    assert ends(flat) == pytest.approx(expected, abs=0.05 * (expected[1] - expected[0]))


@pytest.mark.parametrize("entry", named("pearson_edge"))
def test_pearson_edge(entry: dict[str, Any]) -> None:
    found = pearson(entry["x"], entry["y"])
    if entry["r"] is None:
        assert found.value is None
        assert found.notes[0].code == "constant"
        return
    assert found.value == pytest.approx(entry["r"], abs=1e-9)
    assert ends(found) == pytest.approx(entry["fisher_ci95"], abs=1e-9)


@pytest.mark.parametrize("entry", named("ratio_of_means"))
def test_ratio_of_means(entry: dict[str, Any]) -> None:
    above, below = (
        table(entry["metric"], [entry[side]], [entry["perturbation"]], [entry["strength"]])
        for side in ("numerator", "denominator")
    )
    shared = (np.isfinite(above) & np.isfinite(below))[:, 0]
    half = (entry["fieller_ci95"][1] - entry["fieller_ci95"][0]) / 2
    for interval, key in (("percentile", "bootstrap_percentile"), ("bca", "bootstrap_BCa")):
        found = ratio_of_means(above[shared], below[shared], HOW, interval=interval)  # type: ignore[arg-type]
        assert found.value == pytest.approx(entry["ratio"], abs=1e-9)
        assert found.n == entry["n_pairs"]
        assert ends(found) == pytest.approx(entry[key]["ci95"], abs=0.08 * half)


@pytest.mark.parametrize("entry", named("dose_response"))
def test_dose_response(entry: dict[str, Any]) -> None:
    values = table(entry["metric"], [entry["model"]], [entry["perturbation"]], STRENGTHS)
    assert np.nanmean(values, axis=0) == pytest.approx(entry["level_means"], abs=1e-9)
    assert trend(values, STRENGTHS, HOW).value == pytest.approx(entry["rho_of_level_means"], abs=1e-9)
    strengths = np.broadcast_to(STRENGTHS, values.shape)
    how = Resampling(resamples=1000)
    assert spearman(values, strengths, how).value == pytest.approx(entry["rho_rows"], abs=1e-9)


def curves() -> Iterator[Any]:
    """The jumps of one curve, in order of size."""
    grouped: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in EXPECTED["scaling_jumps"]:
        grouped.setdefault((entry["perturbation"], entry["metric"], entry["strength"]), []).append(entry)
    for key, entries in grouped.items():
        ordered = sorted(entries, key=lambda entry: MODELS.index(entry["frm"]))
        yield pytest.param(ordered, id="-".join(str(part) for part in key))


@pytest.mark.parametrize("entries", list(curves()))
def test_jumps(entries: list[dict[str, Any]]) -> None:
    first = entries[0]
    strengths = STRENGTHS if first["strength"] == "all" else [first["strength"]]
    values = [table(first["metric"], [model], [first["perturbation"]], strengths) for model in MODELS]
    found = jumps(values)
    assert len(found.steps) == len(entries) == 3
    for step, entry in zip(found.steps, entries, strict=True):
        assert step.value == pytest.approx(entry["jump"], abs=1e-9)
        assert step.half_width == pytest.approx(entry["pooled_half_width_root_sum_squares"], abs=1e-9)
        assert step.half_width is not None
        assert (step.value > step.half_width) == entry["non_monotone_flag"]
        assert step.n == entry["paired_n"]
        middle, half = entry["paired_jump"], entry["paired_half_width_t"]
        assert (step.low, step.high) == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert found.overall is not None
    from_, to = entries[0], entries[-1]
    assert found.value == found.overall.value == pytest.approx(to["mean_to"] - from_["mean_from"], abs=1e-9)
    pooled = math.hypot(from_["half_width_t_from"], to["half_width_t_to"])
    assert found.overall.half_width == pytest.approx(pooled, abs=1e-9)
    assert ends(found) == pytest.approx((found.value - pooled, found.value + pooled), abs=1e-9)


@pytest.mark.parametrize("entry", named("fisher_table"))
def test_fisher_table(entry: dict[str, Any]) -> None:
    found = fisher_ci(entry["r_published"], entry["n"])
    assert found == pytest.approx(entry["ci_from_rounded_r"], abs=1e-9)
    assert found == pytest.approx(entry["ci_published"], abs=0.001)
    for r in entry["unrounded_r_that_fit"]:
        assert [round(end, 3) for end in fisher_ci(r, entry["n"])] == entry["ci_published"]
