"""Video designs: data set × model × perturbation × strength × seed, measured on clips."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from vjepa_stress.blocks import Compares, Correspondence, Family, ModelRole, PerturbationRole
from vjepa_stress.columns import Column, shard_columns
from vjepa_stress.design.base import Concern, Design, Factor, Identity
from vjepa_stress.design.cell import Cell
from vjepa_stress.digest import Digest, digest_of, parse_json
from vjepa_stress.errors import BadDocument, BadInput
from vjepa_stress.fields import Frozen, Level, Name, Seed

Frames = Annotated[int, Field(ge=2, le=1024, description="number of frames of each clip")]
Resolution = Annotated[int, Field(ge=32, le=4096, description="height and width of frames in pixels")]


class VideoCell(Cell):
    """A cell of a video design. Probes have no strength. `seed` is the index of the seed of the perturbation."""

    __slots__ = ()

    factors: ClassVar[tuple[str, ...]] = ("dataset", "model", "perturbation", "strength", "seed")

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self["dataset"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self["model"])

    @property
    def perturbation(self) -> str:
        """Name of the perturbation."""
        return str(self["perturbation"])

    @property
    def strength(self) -> float | None:
        """Strength in (0, 1]; None for a probe."""
        level = self["strength"]
        return None if level is None else float(level)

    @property
    def seed(self) -> int:
        """Index of the seed of the perturbation, from 0."""
        return int(self["seed"] or 0)

    def __str__(self) -> str:
        strength = "" if self.strength is None else f" at {self.strength:g}"
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.dataset} · {self.model} · {self.perturbation}{strength}{seed}"


class BuildingBlock(Frozen):
    """A named building block: its complete specification and the digest of the specification."""

    spec: dict[str, Any]
    spec_digest: Digest

    @model_validator(mode="after")
    def _digest_matches(self) -> Self:
        if digest_of(self.spec) != self.spec_digest:
            raise ValueError(f"spec_digest is {self.spec_digest}, but the digest of spec is {digest_of(self.spec)}")
        return self


class DatasetEntry(BuildingBlock):
    """A data set. A null clip manifest is pinned by the first launch.

    `n_sources` is the number of videos, or of rendered scenes, that the clips are taken from.
    """

    clip_manifest_digest: Digest | None
    n_clips: int = Field(ge=1)
    n_sources: int = Field(ge=1)

    @model_validator(mode="after")
    def _sources_have_clips(self) -> Self:
        if self.n_sources > self.n_clips:
            raise ValueError(f"{self.n_clips} clips cannot have {self.n_sources} sources")
        return self


class ModelEntry(BuildingBlock):
    """A model. A null weights digest is pinned by the first launch. A larger `size_rank` means a larger model.

    `positions` is the number of temporal positions in the features of one clip.
    """

    weights_digest: Digest | None
    size_rank: int = Field(ge=0)
    role: ModelRole
    untrained: bool
    positions: int = Field(ge=1)


class PerturbationEntry(BuildingBlock):
    """A perturbation, with the properties that judging depends on."""

    role: PerturbationRole
    family: Family
    correspondence: Correspondence


class MetricEntry(BuildingBlock):
    """A metric, with its range, whether it compares positions or regions, and its shard columns (the metric first).

    `aligned` maps a column that compares positions to its aligned twin, which maps positions back before it compares.
    """

    range: tuple[float, float]
    compares: Compares
    columns: tuple[Name, ...] = Field(min_length=1)
    aligned: dict[Name, Name]

    @model_validator(mode="after")
    def _twins_are_columns(self) -> Self:
        named = [*self.aligned, *self.aligned.values()]
        if len(set(named)) != len(named) or not {*named} <= {*self.columns}:
            raise ValueError(f"`aligned` must pair distinct columns of {', '.join(self.columns)}")
        return self

    @property
    def main(self) -> str:
        """The column of the metric itself."""
        return self.columns[0]

    def are_twins(self, one: str, other: str) -> bool:
        """Whether one column is the aligned twin of the other."""
        return self.aligned.get(one) == other or self.aligned.get(other) == one

    def is_aligned(self, column: str) -> bool:
        """Whether a column is the aligned twin of another column."""
        return column in self.aligned.values()


class Numerics(Frozen):
    """Numerical settings of the encoder. Both change the results bitwise, so both are registered."""

    dtype: Literal["float32", "bfloat16"]
    compile: bool


class VideoDesign(Design):
    """The exact set of cells, and all settings that can change their numbers."""

    unit: ClassVar[str] = "clip"
    units: ClassVar[str] = "clips"
    control_factor: ClassVar[str | None] = "model"

    kind: Literal["video"]
    datasets: dict[Name, DatasetEntry] = Field(min_length=1)
    models: dict[Name, ModelEntry] = Field(min_length=1)
    perturbations: dict[Name, PerturbationEntry] = Field(min_length=1)
    metrics: dict[Name, MetricEntry] = Field(min_length=1)
    cells: tuple[VideoCell, ...] = Field(min_length=1)
    seed: Seed
    frames: Frames
    resolution: Resolution
    numerics: Numerics

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        for cell in self.cells:
            if set(cell) != set(self.factor_names):
                raise ValueError(f"cell {dict(cell)}: a video cell has the factors {', '.join(self.factor_names)}")
            seed = cell["seed"]
            if not isinstance(seed, float) or seed < 0 or seed % 1:
                raise ValueError(f"cell {dict(cell)}: the seed must be an index: 0, 1, 2, …")
            if isinstance(cell["strength"], str):
                raise ValueError(f"cell {dict(cell)}: the strength must be a number, or null for a probe")  # noqa: TRY004
        keys = [cell.order() for cell in self.cells]
        if keys != sorted(set(keys)):
            raise ValueError(
                "cells must be sorted by data set, model, perturbation, seed and strength, without duplicates"
            )
        for cell in self.cells:
            for kind, name, known in (
                ("data set", cell.dataset, self.datasets),
                ("model", cell.model, self.models),
                ("perturbation", cell.perturbation, self.perturbations),
            ):
                if name not in known:
                    raise ValueError(
                        f"cell {cell}: unknown {kind} {name!r}; the design has {', '.join(sorted(known))}"
                    )
            probe = self.perturbations[cell.perturbation].role == "probe"
            if probe != (cell.strength is None):
                raise ValueError(f"cell {cell}: probes have no strength, all other perturbations need one")
            if cell.strength is not None and not 0 < cell.strength <= 1:
                raise ValueError(f"cell {cell}: the strength must be in (0, 1]")
        return self

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Data set, model, perturbation, strength, seed."""
        return tuple(Factor(name, numeric=name in ("strength", "seed")) for name in VideoCell.factors)

    @functools.cached_property
    def columns(self) -> Mapping[str, MetricEntry]:
        """The metric of each column."""
        return {column: entry for entry in self.metrics.values() for column in entry.columns}

    @functools.cached_property
    def layout(self) -> tuple[Column, ...]:
        """The clip, each metric with its counts (and with lists, if it compares regions), and the flag."""
        regions = {entry.main for entry in self.metrics.values() if entry.compares == "regions"}
        return shard_columns(tuple(self.columns), regions, self.unit)

    def stratum(self, cell: Cell) -> str:
        """The data set."""
        return str(cell["dataset"])

    def count_units(self, stratum: str) -> int:
        """Number of clips of a data set."""
        return self.datasets[stratum].n_clips

    def count_sources(self, stratum: str) -> int:
        """Number of sources of the clips of a data set."""
        return self.datasets[stratum].n_sources

    @property
    def identities(self) -> Mapping[str, Mapping[str, Identity]]:
        """Weights of models, and clip manifests of data sets."""
        return {
            "weights": {name: Identity(e.spec_digest, e.weights_digest) for name, e in self.models.items()},
            "clips": {name: Identity(e.spec_digest, e.clip_manifest_digest) for name, e in self.datasets.items()},
        }

    def bound_to(self, cell: Cell) -> Mapping[str, str]:
        """The weights of its model and the clips of its data set."""
        return {"weights": str(cell["model"]), "clips": str(cell["dataset"])}

    def config(self, cell: Cell) -> dict[str, Any]:
        """Levels of the cell, specifications of its blocks, seed, frames, resolution and numerics."""
        return {
            "cell": dict(cell),
            "dataset": self.datasets[str(cell["dataset"])].spec_digest,
            "model": self.models[str(cell["model"])].spec_digest,
            "perturbation": self.perturbations[str(cell["perturbation"])].spec_digest,
            "metrics": {name: entry.spec_digest for name, entry in self.metrics.items()},
            "seed": self.seed,
            "frames": self.frames,
            "resolution": self.resolution,
            "numerics": self.numerics.model_dump(mode="json"),
        }

    def unit_keys(self, data: bytes) -> tuple[str, ...]:
        """Digests of the clips of a clip manifest, in order."""
        return tuple(clip["digest"] for clip in _clips(data))

    def unit_sources(self, data: bytes) -> Mapping[str, str]:
        """Digest of each clip → digest of its source."""
        return {clip["digest"]: clip["source"] for clip in _clips(data)}

    def known_keys(self, data: bytes) -> frozenset[str]:
        """Digests of clips and of their sources, so that other frames of a video count as the same video."""
        return frozenset(clip[key] for clip in _clips(data) for key in ("digest", "source"))

    @property
    def settings(self) -> Mapping[str, str]:
        """The number format."""
        return {"dtype": self.numerics.dtype}

    @property
    def controls(self) -> tuple[str, ...]:
        """Models that are controls."""
        return tuple(sorted(name for name, entry in self.models.items() if entry.role == "control"))

    @property
    def models_by_size(self) -> dict[str, ModelEntry]:
        """The models, from the smallest to the largest."""
        return dict(sorted(self.models.items(), key=lambda item: (item[1].size_rank, item[0])))

    @functools.cached_property
    def default_levels(self) -> Mapping[str, tuple[Level, ...]]:
        """A filter that does not name models selects all subjects."""
        return {"model": tuple(name for name, entry in self.models.items() if entry.role == "subject")}

    def concerns(self, columns: Sequence[str], cells: Sequence[Cell]) -> Iterator[Concern]:
        """Metrics that compare positions, under perturbations that move content."""
        moving = sorted({str(cell["perturbation"]) for cell in cells if not self.is_in_place(cell)})
        for name in columns:
            entry = self.columns[name]
            if moving and entry.compares == "positions" and not entry.is_aligned(name):
                aligned = entry.aligned.get(name, "")
                yield Concern("moved-positions", {"column": name, "moving": ", ".join(moving), "aligned": aligned})

    def same_number(self, x: str, y: str, cells: Sequence[Cell]) -> bool:
        """A metric and its aligned twin are equal when content does not move."""
        return self.columns[x].are_twins(x, y) and all(self.is_in_place(cell) for cell in cells)

    def is_in_place(self, cell: Cell) -> bool:
        """Whether the perturbation of a cell does not move content."""
        return self.perturbations[str(cell["perturbation"])].correspondence == "in-place"


def combinations(
    datasets: Iterable[str],
    models: Iterable[str],
    perturbations: Iterable[str],
    strengths: Callable[[str], Iterable[float | None]],
    seeds: Iterable[int],
) -> Iterator[VideoCell]:
    """The cells of all combinations of levels.

    Args:
        datasets, models, perturbations, seeds: levels of these factors.
        strengths: the strengths of a perturbation; None for a probe.
    """
    seeds = tuple(seeds)
    for dataset, model, perturbation in product(datasets, models, perturbations):
        for strength, seed in product(strengths(perturbation), seeds):
            levels = {"dataset": dataset, "model": model, "perturbation": perturbation}
            yield VideoCell({**levels, "strength": strength, "seed": float(seed)})


def as_video(design: Design) -> VideoDesign:
    """The design, after a check that it is a video design.

    Raises:
        BadInput: when it is of another kind.
    """
    if not isinstance(design, VideoDesign):
        raise BadInput(
            "this command supports only video designs",
            where="design.kind",
            expected="video",
            found=design.kind,
            fix="use the application that registered the study",
        )
    return design


def _clips(data: bytes) -> list[dict[str, str]]:
    try:
        found: list[dict[str, str]] = parse_json(data)["clips"]
    except (KeyError, TypeError) as error:
        raise BadDocument(
            "a clip manifest does not list clips", found=repr(data[:80]), fix="restore the manifest from a copy"
        ) from error
    return found
