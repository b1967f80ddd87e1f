"""Description of a registered video design: clips, tables of cells, pinned digests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vjepa_stress.design.video import BuildingBlock, DatasetEntry, ModelEntry, VideoCell, VideoDesign
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.report.words import counted


@dataclass(frozen=True)
class Grid:
    """A table of texts: column names, and rows of the same length."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def header_fields(design: VideoDesign) -> dict[str, str]:
    """The fields of the header: clips and numerics."""
    return {
        "clips": f"{design.frames} frames at {design.resolution} × {design.resolution} pixels, seed {design.seed}",
        "numerics": design.numerics.dtype + (", compiled" if design.numerics.compile else ""),
    }


def cell_grids(design: VideoDesign) -> Iterator[tuple[str, Grid]]:
    """A title and a table of perturbations × models for each data set."""
    for dataset in design.datasets:
        cells = [cell for cell in design.cells if cell.dataset == dataset]
        title = f"Cells on {dataset}: {len(cells)} of {len(design.cells)}"
        yield title, _grid(design, cells)


def _grid(design: VideoDesign, cells: Sequence[VideoCell]) -> Grid:
    """Table of perturbations × models. Models with the same cells share a column."""
    columns: dict[tuple[str, ...], list[str]] = {}
    used = {cell.perturbation for cell in cells}
    perturbations = [name for name in design.perturbations if name in used]
    for model in design.models_by_size:
        of_model = [cell for cell in cells if cell.model == model]
        texts = tuple(_strengths([c for c in of_model if c.perturbation == name]) for name in perturbations)
        if of_model:
            columns.setdefault(texts, []).append(model)
    rows = zip(perturbations, *columns, strict=True)
    return Grid(("perturbation", *(", ".join(models) for models in columns.values())), tuple(rows))


def _strengths(cells: Sequence[VideoCell]) -> str:
    if not cells:
        return "-"
    strengths = [f"{cell.strength:g}" for cell in cells if cell.strength is not None]
    return ", ".join(strengths) or "probe"


def pinned_blocks(registration: Registration, design: VideoDesign) -> Grid:
    """All building blocks, with the digests of their specifications and of their files."""
    groups: tuple[tuple[str, Mapping[str, BuildingBlock]], ...] = (
        ("data set", design.datasets),
        ("model", design.models_by_size),
        ("perturbation", design.perturbations),
        ("metric", design.metrics),
    )
    rows = tuple(
        (kind, name, _summary(entry), entry.spec_digest.short, _files(registration, name, entry))
        for kind, entries in groups
        for name, entry in entries.items()
    )
    return Grid(("kind", "name", "summary", "specification", "files"), rows)


def _summary(entry: BuildingBlock) -> str:
    values = entry.model_dump(mode="json")
    if isinstance(entry, DatasetEntry):
        return f"{counted(entry.n_clips, 'clip')} of {counted(entry.n_sources, 'source')}"
    if isinstance(entry, ModelEntry):
        return f"{entry.role}, size rank {entry.size_rank}" + (", untrained" if entry.untrained else "")
    return str(values.get("role") or ", ".join(values["columns"]))


def _files(registration: Registration, name: str, entry: BuildingBlock) -> str:
    """Digest of the weights of a model or of the clip manifest of a data set, and whether a launch pinned it."""
    if not isinstance(entry, DatasetEntry | ModelEntry):
        return ""
    is_model = isinstance(entry, ModelEntry)
    digest = entry.weights_digest if isinstance(entry, ModelEntry) else entry.clip_manifest_digest
    noun = "weights" if is_model else "clips"
    if digest is not None:
        return f"{noun} {digest.short}"
    launched = registration.pinned("weights" if is_model else "clips", name)
    return f"{noun} " + (f"{launched.short}, pinned by a launch" if launched else "to be pinned by the first launch")
