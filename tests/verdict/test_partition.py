"""The partition finding against scipy, a plain bootstrap, and worlds whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import stats

from tests.verdict import sketch
from vjepa_stress.design import Cell
from vjepa_stress.design.video import VideoDesign
from vjepa_stress.digest import sha256
from vjepa_stress.report import words
from vjepa_stress.statistics.numerics.estimate import Note
from vjepa_stress.statistics.numerics.resample import Resampling, expanded
from vjepa_stress.verdict.estimate import fisher_ci, pearson, pearson_difference
from vjepa_stress.verdict.partition import Correlation, Partition, Separation, partition
from vjepa_stress.verdict.table import Table

Floats = NDArray[np.float64]
HOW = Resampling(resamples=1000, seed=7)
STRENGTHS = [0.2, 0.6, 1.0]
FAMILIES = {"blur": "image-noise", "noise": "image-noise", "drops": "time-axis", "bars": "time-axis"}
CLIPS = 12


def design(
    *, clips: int = CLIPS, plain: int = 0, changes: Mapping[str, Mapping[str, str]] | None = None
) -> VideoDesign:
    """Four perturbations on annotated clips, and on `plain` clips of another data set, without masks."""
    datasets = {"davis": clips, **({"films": plain} if plain else {})}
    models = ["base", "large", "twin"]
    cells = sketch.cells(list(datasets), models, [*FAMILIES], STRENGTHS)
    cells += sketch.cells(list(datasets), models, ["reverse", "identity"])
    fields = sketch.design(cells, clips=datasets, controls=["twin"])
    for name, family in FAMILIES.items():
        fields["perturbations"][name]["family"] = family
    for name, change in (changes or {}).items():
        fields["perturbations"][name] |= change
    threshold = sketch.threshold("top", 0.4, 0.1)
    top = sketch.hypothesis("H1", {"top": {"statistic": "maximum", "metric": "M2", "where": {}}}, threshold)
    made = sketch.document(fields, [top]).design
    assert isinstance(made, VideoDesign)
    return made


def world(of: VideoDesign, r: Mapping[str, float], *, shared: float = 0.5, seed: int = 0) -> Table:
    """Normal M2 and dM3 whose correlation is known by family; a share of both is what the clip is like."""
    chance, clips = np.random.default_rng(seed), []
    owner = []
    for name in sorted(of.datasets):
        clips += sorted(sha256(f"{name}{n}".encode()) for n in range(of.datasets[name].n_clips))
        owner += [name] * of.datasets[name].n_clips
    order = np.argsort(clips)
    present: NDArray[np.bool_] = (
        np.array(owner)[order][:, None] == np.array([cell.dataset for cell in of.cells])[None, :]
    )
    drift, loss = np.full(present.shape, np.nan), np.full(present.shape, np.nan)
    whole = chance.standard_normal((2, len(clips), 1))
    own = chance.standard_normal((2, *present.shape))
    for column, cell in enumerate(of.cells):
        family = FAMILIES.get(cell.perturbation, "")
        if not family:
            drift[:, column] = own[0, :, column]
            continue
        along = r[family]
        x, noise = (
            np.sqrt(shared) * whole[side, :, 0] + np.sqrt(1 - shared) * own[side, :, column] for side in (0, 1)
        )
        drift[:, column] = x
        if cell.dataset == "davis":
            loss[:, column] = along * x + np.sqrt(1 - along**2) * noise
    values = {"M2": np.where(present, drift, np.nan), "dM3": np.where(present, loss, np.nan)}
    return Table(of.cells, tuple(np.array(clips)[order].tolist()), values, present)


def found(table: Table, of: VideoDesign, how: Resampling = HOW) -> Partition:
    finding = partition(table, of, how)
    assert finding is not None
    return finding


def one(finding: Partition, name: str, control: str | None = None) -> Correlation:
    (correlation,) = [one for one in finding.correlations if (one.name or one.kind, one.control) == (name, control)]
    return correlation


def gap(finding: Partition, control: str | None = None) -> Separation:
    (separation,) = [one for one in finding.separations if one.control == control]
    assert separation.families == ("image-noise", "time-axis")
    return separation


def side(table: Table, names: Sequence[str], models: Sequence[str]) -> tuple[Floats, Floats]:
    """M2 and dM3 of some cells, found without the code under test."""
    columns = [n for n, c in enumerate(sketch.video(table.cells)) if c.perturbation in names and c.model in models]
    return table.values["M2"][:, columns], table.values["dM3"][:, columns]


GROUPS = {
    **{name: [name] for name in FAMILIES},
    "image-noise": ["blur", "noise"],
    "time-axis": ["drops", "bars"],
    "all": [*FAMILIES],
}


@pytest.mark.parametrize("control", [None, "twin"])
@pytest.mark.parametrize("name", GROUPS)
def test_r_against_scipy_with_both_intervals(name: str, control: str | None) -> None:
    of = design(plain=5)
    table = world(of, {"image-noise": 0.1, "time-axis": 0.7})
    said = one(found(table, of), name, control)
    x, y = side(table, GROUPS[name], [control] if control else ["base", "large"])
    both = np.isfinite(x) & np.isfinite(y)
    expected = float(stats.pearsonr(x[both], y[both]).statistic)
    assert (said.pairs, said.clips, said.left_out, said.missing, said.notes) == (int(both.sum()), CLIPS, 0, 0, ())
    assert said.fisher.value == pytest.approx(expected, abs=1e-12)
    assert (said.fisher.low, said.fisher.high) == pytest.approx(fisher_ci(expected, said.pairs), abs=1e-12)
    assert said.cluster == pearson(x, y, HOW, interval="jackknife").model_copy(update={"notes": ()})
    assert said.cluster.n == CLIPS


def plain_loop(table: Table, models: Sequence[str], how: Resampling) -> Floats:
    """r₁ − r₂ on every resample of the clips that have pairs, one at a time."""
    first, second = (side(table, GROUPS[name], models) for name in ("image-noise", "time-axis"))
    rows = np.flatnonzero(np.isfinite(first[1]).any(1) | np.isfinite(second[1]).any(1))
    drawn = np.random.Generator(np.random.PCG64(how.seed)).integers(0, len(rows), (how.resamples, len(rows)))
    samples = []
    for places in drawn:
        r = []
        for x, y in (first, second):
            x, y = x[rows[places]].ravel(), y[rows[places]].ravel()
            both = np.isfinite(x) & np.isfinite(y)
            r.append(np.corrcoef(x[both], y[both])[0, 1])
        samples.append(r[0] - r[1])
    return np.array(samples)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("control", [None, "twin"])
def test_the_difference_against_a_plain_bootstrap(control: str | None, holes: bool) -> None:
    of = design(plain=3)
    table = world(of, {"image-noise": -0.2, "time-axis": 0.5})
    if holes:
        # Some pairs lack one side, and one clip has no pair in a whole family.
        loss = table.values["dM3"]
        loss[np.random.default_rng(3).uniform(size=loss.shape) < 0.1] = np.nan
        clip = int(np.flatnonzero(np.isfinite(loss).any(1))[0])
        loss[
            clip, [n for n, cell in enumerate(sketch.video(table.cells)) if cell.perturbation in ("drops", "bars")]
        ] = np.nan
    models = [control] if control else ["base", "large"]
    said = gap(found(table, of), control)
    samples = plain_loop(table, models, HOW)
    level = expanded(HOW.level, said.gap.n)
    assert said.gap.low == pytest.approx(np.quantile(samples, (1 - level) / 2), abs=1e-9)
    assert said.gap.high == pytest.approx(np.quantile(samples, (1 + level) / 2), abs=1e-9)
    r = [one(found(table, of), name, control).fisher.value or 0 for name in said.families]
    assert said.gap.value == pytest.approx(r[0] - r[1], abs=1e-12)
    if holes:
        note = one(found(table, of), "all", control).notes[-1]
        assert (note.code, note.value) == ("values-left-out", one(found(table, of), "all", control).left_out)
        assert "left out" in words.note(note)


def shards(table: Table, chance: np.random.Generator) -> dict[Cell, pa.Table]:
    """The same numbers as files would hold them, cells and rows in any order."""
    made = {}
    for column in chance.permutation(len(table.cells)):
        rows = chance.permutation(np.flatnonzero(table.present[:, column]))
        values = {name: table.values[name][rows, column] for name in ("M2", "dM3")}
        made[table.cells[column]] = pa.table({"clip": [table.units[row] for row in rows], **values})
    return made


def test_the_order_of_rows_and_shards_does_not_matter() -> None:
    of = design(plain=4)
    table = world(of, {"image-noise": 0.0, "time-axis": 0.4})
    first, second = (
        found(Table.of(shards(table, np.random.default_rng(seed)), ("M2", "dM3")), of) for seed in (1, 2)
    )
    assert first == second == found(table, of)


def test_the_order_of_cells_does_not_matter_to_a_difference() -> None:
    chance = np.random.default_rng(0)
    (a, b, c, d), order = chance.normal(size=(4, 10, 6)), [3, 1, 5, 0, 2, 4]
    one, other = (
        pearson_difference((a, a + b), (c, c - d), HOW),
        pearson_difference((a[:, order], (a + b)[:, order]), (c[:, order], (c - d)[:, order]), HOW),
    )
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-12)
    with pytest.raises(ValueError, match="same units"):
        pearson_difference((a, b), (c[:9], d[:9]), HOW)


def test_no_difference_between_a_side_and_itself() -> None:
    x, noise = np.random.default_rng(0).normal(size=(2, 20, 3))
    nothing = pearson_difference((x, x + noise), (x, x + noise), HOW)
    # A BLAS may round the same column differently at another place in the matrix: not exactly 0 on every processor.
    assert (nothing.value, nothing.low, nothing.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_separable_families() -> None:
    of = design(clips=40)
    table = world(of, {"image-noise": 0.0, "time-axis": 0.9}, shared=0.2)
    said = gap(found(table, of))
    assert said.separable is True
    assert said.overlap is False
    same = world(of, {"image-noise": 0.5, "time-axis": 0.5}, shared=0.2)
    assert gap(found(same, of)).separable is False


def test_pairs_that_share_clips_are_fewer_than_fisher_thinks() -> None:
    """Eight clips, r of zero under both families, one pair a clip in every cell: Fisher takes 96 for independent."""
    of = design(clips=8)
    table = world(of, {"image-noise": 0.0, "time-axis": 0.0})
    of_family = {
        name: np.random.default_rng([5, n]).normal(size=(2, 8))
        for n, name in enumerate(sorted(set(FAMILIES.values())))
    }
    for column, cell in enumerate(sketch.video(table.cells)):
        if cell.perturbation in FAMILIES:
            drift, loss = of_family[FAMILIES[cell.perturbation]]
            table.values["M2"][:, column], table.values["dM3"][:, column] = drift, loss
    said = gap(found(table, of))
    assert said.overlap is False
    assert said.separable is False


def test_paired_clips_can_tell_apart_what_overlaps() -> None:
    """What the two families share falls out of a paired difference, and not out of two intervals."""
    of = design(clips=60)
    table = world(of, {"image-noise": 0.0, "time-axis": 0.0})
    chance = np.random.default_rng(0)
    x, loss = chance.standard_normal((2, 60, 1))
    for column, cell in enumerate(sketch.video(table.cells)):
        family = FAMILIES.get(cell.perturbation)
        table.values["M2"][:, column] = x[:, 0]
        if family:
            shift = 0.08 * x[:, 0] if family == "time-axis" else 0
            table.values["dM3"][:, column] = 0.5 * x[:, 0] + loss[:, 0] + shift
    said = gap(found(table, of))
    assert said.overlap is True
    assert said.separable is True


def test_undefined_says_why_and_is_never_zero() -> None:
    of = design()
    table = world(of, {"image-noise": 0.0, "time-axis": 0.4})
    blur = [n for n, cell in enumerate(sketch.video(table.cells)) if cell.perturbation == "blur"]
    table.values["dM3"][:, blur] = 0.25
    said = one(found(table, of), "blur")
    for estimate in (said.fisher, said.cluster):
        assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
    assert said.notes == (Note(code="constant"),)
    assert words.note(said.notes[0]) == "a correlation with a constant is undefined"
    noise = [n for n, cell in enumerate(sketch.video(table.cells)) if cell.perturbation in ("blur", "noise")]
    table.values["dM3"][:, noise] = 0.25
    between = gap(found(table, of))
    assert (between.separable, between.overlap, between.gap.value) == (None, None, None)
    assert between.gap.notes == (Note(code="constant"),)


def test_one_clip_is_no_sample() -> None:
    of = design(clips=1)
    finding = found(world(of, {"image-noise": 0.0, "time-axis": 0.4}), of)
    for said in finding.correlations:
        assert (said.fisher.value, said.cluster.value, said.clips) == (None, None, 1)
        assert said.notes == (Note(code="too-few-units"),)
        assert words.note(said.notes[0]) == "fewer than two clips have a value"
    assert gap(finding).gap.notes == (Note(code="too-few-units"),)
    lone = np.arange(5.0)[None]
    assert not pearson(lone, lone**2, HOW, interval="cluster").defined


def test_an_interval_that_some_resamples_do_not_have() -> None:
    """Two clips, each constant: r is that of the two, and a clip drawn twice has none."""
    x = np.repeat([[0.0], [1.0]], 4, axis=1)
    cluster = pearson(x, x + np.array([0.0, 0.1, 0.2, 0.3]), HOW, interval="cluster")
    assert not cluster.defined
    (note,) = cluster.notes
    assert note.code == "no-value-in-resamples"
    assert note.value == pytest.approx(0.5, abs=0.07)
    assert "of the resamples" in words.note(note)


def test_cells_that_are_missing_are_counted() -> None:
    of = design()
    table = world(of, {"image-noise": 0.0, "time-axis": 0.4})
    kept = [n for n, cell in enumerate(sketch.video(table.cells)) if cell.strength != 1.0]
    values = {name: part[:, kept] for name, part in table.values.items()}
    partial = Table(tuple(table.cells[n] for n in kept), table.units, values, table.present[:, kept])
    said = one(found(partial, of), "drops")
    assert (said.missing, said.pairs) == (2, 2 * 2 * CLIPS)
    assert said.notes == (Note(code="cells-missing", value=2),)
    assert words.note(said.notes[0]) == "2 cells missing"
    empty = found(Table.of({}, ("M2", "dM3")), of)
    assert {said.fisher.value for said in empty.correlations} == {None}
    assert not empty.clouds


def test_only_tier_one_in_place_counts() -> None:
    of = design(changes={"blur": {"role": "tier2"}, "drops": {"correspondence": "mirrored"}})
    finding = found(world(of, {"image-noise": 0.0, "time-axis": 0.4}), of)
    assert {said.name for said in finding.correlations if said.kind == "perturbation"} == {"noise", "bars"}
    assert {cloud.perturbation for cloud in finding.clouds} == {"noise", "bars"}


def test_one_family_has_nothing_to_be_told_apart_from() -> None:
    of = design(changes={name: {"family": "image-noise"} for name in ("drops", "bars")})
    finding = found(world(of, {"image-noise": 0.0, "time-axis": 0.4}), of)
    assert not finding.separations
    assert {said.kind for said in finding.correlations} == {"perturbation", "all"}


def test_nothing_without_m3() -> None:
    of = design()
    table = world(of, {"image-noise": 0.0, "time-axis": 0.4})
    fields = of.model_dump()
    del fields["metrics"]["dM3"]
    without = VideoDesign.model_validate(fields)
    assert partition(table, without, HOW) is None
    aside = design(changes={name: {"role": "tier2"} for name in FAMILIES})
    assert partition(table, aside, HOW) is None


def test_clouds_hold_every_pair_once() -> None:
    of = design(plain=4)
    table = world(of, {"image-noise": 0.0, "time-axis": 0.4})
    finding = found(table, of)
    assert finding.datasets == ("davis",)
    for cloud in finding.clouds:
        x, y = side(table, [cloud.perturbation], [cloud.model])
        both = np.isfinite(x) & np.isfinite(y)
        assert list(cloud.pairs) == sorted(zip(x[both].tolist(), y[both].tolist(), strict=True))
        assert cloud.control == (cloud.model == "twin")
    assert [cloud.model for cloud in finding.clouds[:3]] == ["base", "large", "twin"]
    assert dataclasses.replace(finding) == finding
