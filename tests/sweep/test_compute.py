"""Rows, clip by clip: what is drawn once, what is batched and what fails give the rows of a plain computation."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from tests.perturb.test_perturbations import ALL, NAMES
from tests.perturb.textures import clips
from tests.small import study
from tests.sweep.launched import EXEC
from vjepa_stress.blocks import ClipRef
from vjepa_stress.design.video import VideoCell, VideoDesign, as_video
from vjepa_stress.interfaces import Measurement, Metric, Observation, PerClip
from vjepa_stress.metrics.functional_utility import FunctionalUtility
from vjepa_stress.perturb.gaussian_noise import GaussianNoise
from vjepa_stress.prereg import freeze
from vjepa_stress.records import Row, read_cell
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks
from vjepa_stress.sweep.computation import Computation
from vjepa_stress.sweep.compute import Model, Prepared, Result, Source
from vjepa_stress.sweep.plan import kinds_of

STRENGTHS = (0.0, 0.05, 0.2, 0.35, 0.5, 0.6, 0.8, 0.95, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_drawing_once_is_calling_each_time(name: str) -> None:
    block, video = ALL[name], clips(2)
    strengths: tuple[float | None, ...] = (None,) if block.role == "probe" else STRENGTHS
    drawn = block.draw(video, [5, 6])
    for _ in range(2):  # applying does not change what was drawn
        for strength in strengths:
            assert torch.equal(block.apply(video, strength, drawn), block(video, strength, [5, 6]))
    assert torch.equal(video, clips(2))


def observation(in_place: bool, masks: bool, broken: bool) -> Observation:
    generator = torch.Generator().manual_seed(1)
    clean, perturbed = (torch.randn(1, 4, 6, 6, 5, generator=generator) for _ in range(2))
    if broken:
        perturbed[0, 1, 2, 3, 0] = torch.nan
    ids = torch.zeros(1, 8, 48, 48, dtype=torch.int64)
    ids[:, :, 4:20, 6:24], ids[:, :, 25:45, 20:40] = 1, 2
    aligned = perturbed if in_place else perturbed.flip(3)
    counterpart = torch.ones(6, 6, dtype=torch.bool)
    return Observation(clean, perturbed, aligned, counterpart, in_place, ids if masks else None)


METRICS: dict[str, Metric] = {name: Blocks().metric(name) for name in ("M1", "M2")} | {
    "M3": FunctionalUtility(context=2, radius=4, topk=3, temperature=0.1)
}


def same(one: dict[str, Measurement], other: dict[str, Measurement]) -> bool:
    """Equal to the last bit, with NaN equal to NaN."""
    if one.keys() != other.keys():
        return False
    for name, first in one.items():
        second = other[name]
        for part in ("value", "n", "n_non_finite"):
            a, b = getattr(first, part), getattr(second, part)
            if not torch.equal(torch.nan_to_num(a, nan=-9.0), torch.nan_to_num(b, nan=-9.0)):
                return False
        if first.regions != second.regions:
            return False
    return True


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize("name", METRICS)
def test_measuring_in_two_steps_is_one_call(name: str, broken: bool, masks: bool, in_place: bool) -> None:
    metric, seen = METRICS[name], observation(in_place, masks, broken)
    plain = metric(seen)
    assert set(plain) == set(metric.columns) | set(metric.aligned.values())
    assert same(metric.measure(seen)(), plain)
    of_clean = metric.of_clean(seen.clean, seen.masks)
    finish = metric.measure(replace(seen, of_clean=of_clean))
    assert same(finish(), plain)
    assert same(finish(), plain)  # finishing leaves nothing behind


@pytest.fixture(scope="module")
def design(lean: StudyRoot) -> VideoDesign:
    return as_video(freeze.load(lean, "small").document.design)


@pytest.fixture(scope="module")
def computation(design: VideoDesign) -> Computation:
    blocks = Blocks(study.CONF)
    weights = {name: blocks.encoder(name).identify(Path()) for name in design.models}
    return Computation(design, blocks.targets(kinds_of(design, design.cells)), weights, EXEC)


@pytest.fixture(scope="module")
def clip() -> ClipRef:
    return Blocks(study.CONF).dataset("few").identify(None, 16)[1]


def batched(computation: Computation, batch: int) -> Source:
    return replace(computation, exec_config=EXEC.model_copy(update={"batch": batch})).source("few")


def results(model: Model, prepared: Prepared) -> dict[VideoCell, Result]:
    return {result.cell: result for finish in model.measure(prepared) for result in finish()}


def batches(prepared: Prepared) -> set[tuple[VideoCell, ...]]:
    return {batch for draw in prepared.draws for batch in draw.batches}


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8])
def test_batches_depend_on_the_design_and_not_on_what_is_missing(
    computation: Computation, clip: ClipRef, batch: int
) -> None:
    planned, chance = computation.planned["tiny", "few"], random.Random(batch)
    source = batched(computation, batch)
    everything = batches(source.prepare(clip, planned, planned))
    assert sorted(str(cell) for members in everything for cell in members) == sorted(map(str, planned))
    for members in everything:
        assert len(members) <= batch
        assert len({(cell.perturbation, cell.seed) for cell in members}) == 1
    for _ in range(20):
        missing = chance.sample(planned, chance.randint(1, len(planned)))
        found = batches(source.prepare(clip, missing, chance.sample(planned, len(planned))))
        assert found == {members for members in everything if set(members) & set(missing)}
    assert batches(source.prepare(clip, (), planned)) == set()


def test_batched_rows_are_single_rows(computation: Computation, clip: ClipRef) -> None:
    planned, model = computation.planned["tiny", "few"], computation.model("tiny")
    single = results(model, batched(computation, 1).prepare(clip, planned, planned))
    assert len(single) == len(planned) == 8
    assert all(result.error is None for result in single.values())
    for batch in (2, 3, 4):
        several = results(model, batched(computation, batch).prepare(clip, planned, planned))
        assert {cell: result.row for cell, result in several.items()} == {
            cell: result.row for cell, result in single.items()
        }


def test_rows_are_those_of_the_shards(computation: Computation, lean: StudyRoot) -> None:
    """In any order, alone or together."""
    cells = [cell for cell in computation.design.cells if cell.perturbation in ("reverse", "gaussian_noise")]
    refs = {"few": Blocks(study.CONF).dataset("few").identify(None, 16)}
    together = computation.rows(cells[::-1], refs)
    for cell in cells[:2]:
        assert computation.rows([cell], refs)[cell] == together[cell]
    stored = {one.manifest.cell: one for one in map(read_cell, study.cells(lean).iterdir())}
    for cell, rows in together.items():
        assert stored[cell].table.to_pylist() == sorted(rows, key=lambda row: str(row["clip"]))


def test_seconds_are_shared_and_never_lost(computation: Computation, clip: ClipRef) -> None:
    planned, model = computation.planned["tiny", "few"], computation.model("tiny")
    prepared = batched(computation, 2).prepare(clip, planned, planned)
    found = results(model, prepared).values()
    for stage in ("decode", "perturb", "encode", "metrics"):
        assert all(result.seconds[stage] > 0 for result in found)
    for stage, seconds in prepared.seconds.items():
        assert sum(result.seconds[stage] for result in found) >= seconds * 0.999


class Faulty(GaussianNoise):
    """Noise that fails at one strength."""

    fails: ClassVar[str] = ""

    def draw(self, video: Any, seeds: Any) -> Any:
        if self.fails == "draw":
            raise RuntimeError("no numbers today")
        return super().draw(video, seeds)

    def apply(self, video: Any, strength: float | None, drawn: Any) -> Any:
        if self.fails == "apply" and strength == 0.6:
            raise RuntimeError("not at 0.6")
        return super().apply(video, strength, drawn)

    def align(self, features: Any, strength: float | None) -> Any:
        if self.fails == "align" and strength == 0.6:
            raise RuntimeError("not mapped at 0.6")
        return super().align(features, strength)


class Fussy(Metric):
    """A metric that fails at its third observation of a perturbed clip: at once, or when it is finished."""

    kind: ClassVar[str] = "metric/fussy"
    revision: ClassVar[int] = 1
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    columns: ClassVar[tuple[str, ...]] = ("M1",)
    late: ClassVar[bool] = False
    seen: ClassVar[list[int]] = []

    def __call__(self, observation: Observation) -> dict[str, Measurement]:
        return self.measure(observation)()

    def measure(self, observation: Observation) -> Callable[[], dict[str, Measurement]]:
        self.seen.append(1)
        number = len(self.seen)
        if number == 3 and not self.late:
            raise ValueError("three is too many")
        measured = METRICS["M1"](observation)

        def finish() -> dict[str, Measurement]:
            if number == 3:
                raise ValueError("three is too many")
            return measured

        return finish


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("fails", ["draw", "apply", "align"])
def test_a_failing_perturbation_fails_its_cells_only(
    computation: Computation, clip: ClipRef, monkeypatch: pytest.MonkeyPatch, fails: str, batch: int
) -> None:
    planned, model = computation.planned["tiny", "few"], computation.model("tiny")
    source = batched(computation, batch)
    plain = results(model, source.prepare(clip, planned, planned))
    noise = source._perturbations["gaussian_noise"]
    faulty = Faulty(**noise.model_dump())
    source._perturbations = {**source._perturbations, "gaussian_noise": faulty}
    monkeypatch.setattr(Faulty, "fails", fails)
    found = results(model, source.prepare(clip, planned, planned))
    assert found.keys() == plain.keys()
    failed = {cell for cell, result in found.items() if result.error is not None}
    of_noise = {cell for cell in planned if cell.perturbation == "gaussian_noise"}
    assert failed == {cell for cell in of_noise if fails == "draw" or cell.strength == 0.6}
    for cell, result in found.items():
        assert result.row == (None if cell in failed else plain[cell].row)


@pytest.mark.parametrize("late", [True, False])
def test_a_failing_metric_fails_one_cell_only(
    computation: Computation, clip: ClipRef, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    planned, model = computation.planned["tiny", "few"], computation.model("tiny")
    prepared = batched(computation, 4).prepare(clip, planned, planned)
    plain = results(model, prepared)
    monkeypatch.setattr(Fussy, "late", late)
    monkeypatch.setattr(Fussy, "seen", [])
    model._metrics = [*model._metrics, Fussy()]
    found = results(model, prepared)
    failed = [result for result in found.values() if result.error is not None]
    assert len(failed) == 1
    assert str(failed[0].error) == "three is too many"
    assert failed[0].cell == prepared.cells[2]
    rows: list[Row | None] = [result.row for result in found.values() if result.error is None]
    assert rows == [plain[cell].row for cell, result in found.items() if result.error is None]


def test_an_undefined_clean_value_is_no_default(computation: Computation) -> None:
    value: PerClip | None = METRICS["M3"].of_clean(observation(True, False, False).clean, None)
    assert value is not None
    assert bool(value.isnan().all())
