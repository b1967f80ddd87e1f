"""Differences between the video design of a draft and a registered video design."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vjepa_stress.design.video import VideoCell, VideoDesign, combinations
from vjepa_stress.prereg.lineage import Change, cell_changes, differences


def design_changes(design: VideoDesign, drafted: Mapping[str, Any]) -> Iterator[Change]:
    """The differences between a registered design and the names and settings of a draft."""
    for field in ("datasets", "perturbations", "metrics"):
        yield from differences(f"design.{field}", sorted(getattr(design, field)), sorted(drafted[field]))
    ranks = {name: {"size_rank": model.size_rank, "role": model.role} for name, model in design.models.items()}
    yield from differences("design.models", ranks, drafted["models"])
    for field in ("seed", "frames", "resolution"):
        yield from differences(f"design.{field}", getattr(design, field), drafted[field])
    yield from differences("design.numerics", design.numerics.model_dump(mode="json"), drafted["numerics"])


def video_cell_changes(design: VideoDesign, blocks: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """The cells that only the draft or only the registered design has."""

    def strengths(block: Mapping[str, Any], name: str) -> Iterable[float | None]:
        known = design.perturbations.get(name)
        probe = "strength" not in block if known is None else known.role == "probe"
        return (None,) if probe else block["strength"]

    cells: list[VideoCell] = []
    for block in blocks:
        of_block, seeds = functools.partial(strengths, block), block.get("seed", (0,))
        cells += combinations(block["dataset"], block["model"], block["perturbation"], of_block, seeds)
    yield from cell_changes(design.cells, cells)
