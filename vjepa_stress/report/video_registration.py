"""A registered video design in words: its clips, its cells as tables, what is pinned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vjepa_stress.design.video import BuildingBlock, DatasetEntry, ModelEntry, VideoCell, VideoDesign
from vjepa_stress.prereg.freeze import Registration


@dataclass(frozen=True)
class Grid:
    """A table: column names, and rows of as many texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def header_fields(design: VideoDesign) -> dict[str, str]:
    """Clips and numerics."""
    return {
        "clips": f"{design.frames} frames at {design.resolution} × {design.resolution} pixels, seed {design.seed}",
        "numerics": design.numerics.dtype + (", compiled" if design.numerics.compile else ""),
    }


def cell_grids(design: VideoDesign) -> Iterator[tuple[str, Grid]]:
    """For each data set a title and a table of perturbations × models."""
    for dataset in design.datasets:
        cells = [cell for cell in design.cells if cell.dataset == dataset]
        title = f"Cells on {dataset}: {len(cells)} of {len(design.cells)}"
        yield title, _grid(design, cells)


def _grid(design: VideoDesign, cells: Sequence[VideoCell]) -> Grid:
    """Perturbations × models; models with the same cells share a column."""
    columns: dict[tuple[str, ...], list[str]] = {}
    used = {cell.perturbation for cell in cells}
    perturbations = [name for name in design.perturbations if name in used]
    for model in _by_size(design):
        mine = [cell for cell in cells if cell.model == model]
        texts = tuple(_strengths([c for c in mine if c.perturbation == name]) for name in perturbations)
        if mine:
            columns.setdefault(texts, []).append(model)
    rows = zip(perturbations, *columns, strict=True)
    return Grid(("perturbation", *(", ".join(models) for models in columns.values())), tuple(rows))


def _by_size(design: VideoDesign) -> dict[str, ModelEntry]:
    return dict(sorted(design.models.items(), key=lambda item: item[1].size_rank))


def _strengths(cells: Sequence[VideoCell]) -> str:
    if not cells:
        return "-"
    strengths = [f"{cell.strength:g}" for cell in cells if cell.strength is not None]
    return ", ".join(strengths) or "probe"


def pinned_blocks(registration: Registration, design: VideoDesign) -> Grid:
    """Every building block with its specification and the digest of its files."""
    groups: tuple[tuple[str, Mapping[str, BuildingBlock]], ...] = (
        ("data set", design.datasets),
        ("model", _by_size(design)),
        ("perturbation", design.perturbations),
        ("metric", design.metrics),
    )
    rows = tuple(
        (kind, name, _what(entry), entry.spec_digest.short, _files(registration, name, entry))
        for kind, entries in groups
        for name, entry in entries.items()
    )
    return Grid(("kind", "name", "is", "specification", "files"), rows)


def _what(entry: BuildingBlock) -> str:
    said = entry.model_dump(mode="json")
    if isinstance(entry, DatasetEntry):
        return counted(entry.n_clips, "clip")
    if isinstance(entry, ModelEntry):
        return f"{entry.role}, size rank {entry.size_rank}" + (", untrained" if entry.untrained else "")
    return str(said.get("role") or ", ".join(said["columns"]))


def _files(registration: Registration, name: str, entry: BuildingBlock) -> str:
    """Digest of a model's weights or of a data set's clip manifest, and who pinned it."""
    if not isinstance(entry, DatasetEntry | ModelEntry):
        return ""
    is_model = isinstance(entry, ModelEntry)
    digest = entry.weights_digest if isinstance(entry, ModelEntry) else entry.clip_manifest_digest
    noun = "weights" if is_model else "clips"
    if digest is not None:
        return f"{noun} {digest.short}"
    launched = registration.pinned("weights" if is_model else "clips", name)
    return f"{noun} " + (f"{launched.short}, pinned by a launch" if launched else "to be pinned by the first launch")
