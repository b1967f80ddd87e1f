"""Read drafts, which name building blocks, and build preregistrations, which contain their specifications."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vjepa_stress.blocks import Block, ModelRole
from vjepa_stress.design.video import Frames, Resolution, VideoCell, VideoDesign, as_video, combinations
from vjepa_stress.digest import Digest, sha256
from vjepa_stress.disk import write_durably, writing
from vjepa_stress.errors import AlreadyRegistered, BadDocument, BadInput, NotHere
from vjepa_stress.fields import now
from vjepa_stress.interfaces import Dataset, Encoder, Metric, Perturbation
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.draft_defaults import complete
from vjepa_stress.prereg.drafts import expand
from vjepa_stress.prereg.lineage import Edition
from vjepa_stress.prereg.schema import validate
from vjepa_stress.study_root import StudyRoot, check_study_name
from vjepa_stress.sweep.bind import Blocks, ExecConfig, strictly
from vjepa_stress.sweep.clips import check_sources, clip_manifest
from vjepa_stress.sweep.selection import CellFilter
from vjepa_stress.sweep.yaml_file import load_yaml


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DraftModel(_Part):
    """What a draft declares of a model by its place in `models` or `controls`."""

    size_rank: int
    role: ModelRole


class DraftCells(_Part):
    """A block of cells: all combinations of the listed levels. Probes have no strength."""

    dataset: tuple[str, ...]
    model: tuple[str, ...]
    perturbation: tuple[str, ...]
    strength: tuple[float, ...] | None = None
    seed: tuple[int, ...] = (0,)


class DraftDesign(_Part):
    """The design of a draft, with the names of building blocks."""

    datasets: tuple[str, ...]
    models: dict[str, DraftModel]
    perturbations: tuple[str, ...]
    metrics: tuple[str, ...]
    cells: tuple[DraftCells, ...] = Field(min_length=1)
    seed: int
    frames: Frames
    resolution: Resolution
    numerics: dict[str, Any]


class Draft(_Part):
    """A draft; `hypotheses` and `analysis` are validated as part of the document built from it."""

    study: str
    version: str
    title: str
    authors: tuple[str, ...]
    created: str | None = None
    data_status: str
    notes: str | None = None
    parent: str | None = None
    amendment: dict[str, Any] | None = None
    design: DraftDesign
    hypotheses: tuple[dict[str, Any], ...]
    analysis: dict[str, Any]
    sensitivity: tuple[dict[str, Any], ...] = ()
    acknowledged: tuple[dict[str, Any], ...] = ()
    operating_characteristics: dict[str, Any] | None = None


def read_draft(path: Path) -> Draft:
    """Read a draft, expand its `lists` and `each`, write out its defaults, and validate its fields.

    Raises:
        BadDocument, BadConfiguration: with every mistake and its path in the expanded draft.
    """
    value = load_yaml(path)
    if not isinstance(value, dict):
        raise BadDocument(
            "a draft must be a mapping of fields",
            where=path,
            expected=", ".join(Draft.model_fields),
            found=type(value).__name__,
            fix="start from the draft that `vjepa-stress new STUDY` writes",
        )
    if blanks := list(_blanks(value)):
        raise BadDocument(
            "the draft has blanks that are not filled in",
            where=path,
            found="\n    ".join(["", *blanks]),
            fix="replace each of these values with a text of your own",
        )
    return strictly(Draft, complete(expand(value, path), path), path)


def new_draft(root: StudyRoot, study: str) -> Path:
    """Write a commented draft to start from.

    Raises:
        BadInput: for an invalid name of a study.
        AlreadyRegistered: when the study already has a draft or a registration.
        CannotWrite: when the folder cannot be written.
    """
    path = root.prereg / check_study_name(study) / "draft.yaml"
    if path.parent.exists() and any(path.parent.iterdir()):
        raise AlreadyRegistered(
            f"the study {study} already exists",
            where=path.parent,
            found=", ".join(sorted(file.name for file in path.parent.iterdir())[:10]),
            fix=f"edit {path}, or choose another name",
        )
    text = (Path(__file__).parent / "new_study.yaml").read_text(encoding="utf-8")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, text.replace("<STUDY>", study).encode())
    return path


def _blanks(value: Any, where: str = "") -> Iterator[str]:
    """Paths of values that are still a blank <…> of the template, or an empty text."""
    if isinstance(value, str) and (not value.strip() or (value.startswith("<") and value.endswith(">"))):
        yield f"{where}: {value.strip() or 'empty'}"
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _blanks(part, f"{where}.{name}" if where else str(name))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, part in enumerate(value):
            yield from _blanks(part, f"{where}[{number}]")


def cells_of(draft: DraftDesign, blocks: Blocks) -> tuple[VideoCell, ...]:
    """The cells of a design, sorted and without duplicates.

    Raises:
        BadDocument: when a cell is listed twice, or a strength is missing.
    """

    def strengths(block: DraftCells, perturbation: str) -> tuple[float | None, ...]:
        if blocks.perturbation(perturbation).role == "probe":
            return (None,)
        if not block.strength:
            raise BadDocument(
                f"the cells of {perturbation} have no strengths",
                where="design.cells",
                expected="strength: [0.2, 0.4, …], each above 0 and at most 1",
                found=block.model_dump(),
                fix="add `strength` to this block of cells; only probes have none",
            )
        return block.strength

    cells: list[VideoCell] = []
    for block in draft.cells:
        of_block = functools.partial(strengths, block)
        cells += combinations(block.dataset, block.model, block.perturbation, of_block, block.seed)
    twice = [cell for cell, times in Counter(cells).items() if times > 1]
    if twice:
        raise BadDocument(
            "a cell is listed twice",
            where="design.cells",
            found=", ".join(map(str, twice[:5])),
            fix="remove it from one of the blocks of cells",
        )
    return tuple(sorted(cells, key=VideoCell.order))


def _with_spec(block: Block, **more: Any) -> dict[str, Any]:
    return {"spec": block.spec(), "spec_digest": block.spec_digest(), **more}


def dataset_entry(block: Dataset, clips: Digest | None) -> dict[str, Any]:
    """The entry of a data set in a document."""
    return _with_spec(block, clip_manifest_digest=clips, n_clips=block.n_clips, n_sources=block.n_sources)


def model_entry(
    block: Encoder, weights: Digest | None, size_rank: int, role: ModelRole, frames: int, resolution: int
) -> dict[str, Any]:
    """The entry of a model in a document; `frames` and `resolution` are those of the design."""
    positions = block.feature_shape(frames, resolution)[0]
    return _with_spec(
        block,
        weights_digest=weights,
        untrained=block.untrained,
        size_rank=size_rank,
        role=role,
        positions=positions,
    )


def perturbation_entry(block: Perturbation) -> dict[str, Any]:
    """The entry of a perturbation in a document."""
    return _with_spec(block, role=block.role, family=block.family, correspondence=block.correspondence)


def metric_entry(block: Metric) -> dict[str, Any]:
    """The entry of a metric in a document."""
    return _with_spec(
        block,
        range=list(block.range),
        compares=block.compares,
        columns=list(block.columns),
        aligned=dict(block.aligned),
    )


def _check_input(name: str, encoder: Encoder, design: DraftDesign) -> None:
    try:
        encoder.check_input(design.frames, design.resolution)
    except BadInput as error:
        where = f"design.{error.where}" if error.where else "design"
        raise BadDocument(
            f"the model {name} cannot encode the clips of this design: {error.what}",
            where=where,
            expected=error.expected,
            found=error.found,
            fix=error.fix or "change frames or resolution of the design, or choose another model",
        ) from error


def _check_amendment(draft: Draft, parent: Edition | None) -> None:
    """Refuse an amendment without its block `amendment`, and a first registration with one."""
    first = parent is None and draft.parent is None
    if draft.amendment is None and not first:
        raise BadDocument(
            "the draft of an amendment has no block `amendment`",
            where=f"draft of {draft.study} {draft.version}",
            expected="amendment: {changes: …, reason: …, severity: …, validity: …}",
            fix="add the block, and set `version` to the next version (docs/usage.md, section 6)",
        )
    if draft.amendment is not None and first:
        raise BadDocument(
            "a draft with a block `amendment` cannot be a first registration",
            where=f"draft of {draft.study} {draft.version}",
            fix=f"vjepa-stress amend {draft.study} FILE; for a first registration, remove the block",
        )


def _design(
    design: DraftDesign, blocks: Blocks, clips: Mapping[str, Digest | None], weights: Mapping[str, Digest | None]
) -> dict[str, Any]:
    """The design of a document: the specifications of all named blocks, and the pinned digests."""
    return {
        "kind": "video",
        "datasets": {name: dataset_entry(blocks.dataset(name), clips[name]) for name in design.datasets},
        "models": {
            name: model_entry(
                blocks.encoder(name), weights[name], model.size_rank, model.role, design.frames, design.resolution
            )
            for name, model in design.models.items()
        },
        "perturbations": {name: perturbation_entry(blocks.perturbation(name)) for name in design.perturbations},
        "metrics": {name: metric_entry(blocks.metric(name)) for name in design.metrics},
        "cells": [dict(cell) for cell in cells_of(design, blocks)],
        "seed": design.seed,
        "frames": design.frames,
        "resolution": design.resolution,
        "numerics": design.numerics,
    }


def resolve(
    draft: Draft,
    blocks: Blocks,
    exec_config: ExecConfig,
    notice: Callable[[str], None],
    parent: Edition | None = None,
) -> tuple[Preregistration, dict[str, bytes]]:
    """Build the document that a draft describes, and the clip manifests it pins.

    Weights and clips that are not on this machine keep the digests of the parent. Without a parent they stay null and
    the first launch pins them; `notice` is called with a message about each.

    Raises:
        BadInput: when the document would not be valid.
    """
    _check_amendment(draft, parent)
    design, manifests = draft.design, dict[str, bytes]()
    for name in design.models:
        _check_input(name, blocks.encoder(name), design)
    former = as_video(parent.document.design).identities if parent else {}

    def digest(kind: str, name: str, block: Block, identify: Callable[[], Digest]) -> Digest | None:
        try:
            return identify()
        except NotHere as error:
            known = former.get(kind, {}).get(name)
            inherited = known.digest if known is not None and known.spec == block.spec_digest() else None
            if inherited is None:
                notice(f"the {kind} of {name} are not pinned; the first launch pins them ({error.what})")
            return inherited

    def identify_clips(name: str) -> Digest:
        manifests[name] = clip_manifest(name, blocks, exec_config, design.frames)
        check_sources(name, manifests[name], blocks.dataset(name).n_sources)
        return sha256(manifests[name])

    def identify_weights(name: str) -> Digest:
        return blocks.encoder(name).identify(exec_config.weights.expanduser())

    clips = {
        name: digest("clips", name, blocks.dataset(name), functools.partial(identify_clips, name))
        for name in design.datasets
    }
    weights = {
        name: digest("weights", name, blocks.encoder(name), functools.partial(identify_weights, name))
        for name in design.models
    }
    value = {
        "schema": "vjepa-stress/prereg/v3",
        **draft.model_dump(mode="json", include={"study", "version", "title", "authors", "data_status", "analysis"}),
        "created": draft.created or now(),
        "parent": draft.parent or (parent.digest if parent else None),
        **({"amendment": draft.amendment} if draft.amendment else {}),
        **({"notes": draft.notes} if draft.notes else {}),
        "design": _design(design, blocks, clips, weights),
        "hypotheses": [{"status": "active", **hypothesis} for hypothesis in draft.hypotheses],
        "sensitivity": list(draft.sensitivity),
        "acknowledged": list(draft.acknowledged),
    }
    return validate(Preregistration, value, f"draft of {draft.study}"), manifests


def exploratory_design(design: VideoDesign, cell_filter: CellFilter, blocks: Blocks) -> VideoDesign:
    """A design for exploration: all combinations of the requested levels; other factors keep their registered levels.

    Raises:
        BadInput: when a building block is unknown.
    """
    value = design.model_dump(mode="json")
    names = {
        "datasets": cell_filter.dataset or tuple(design.datasets),
        "models": cell_filter.model or tuple(design.models),
        "perturbations": cell_filter.perturbation or tuple(design.perturbations),
    }
    new: dict[str, Callable[[str], dict[str, Any]]] = {
        "datasets": lambda name: dataset_entry(blocks.dataset(name), None),
        "models": lambda name: model_entry(
            blocks.encoder(name), None, 0, "subject", design.frames, design.resolution
        ),
        "perturbations": lambda name: perturbation_entry(blocks.perturbation(name)),
    }
    for field, chosen in names.items():
        value[field] = {name: value[field].get(name) or new[field](name) for name in chosen}
    registered = tuple(sorted({cell.strength for cell in design.cells if cell.strength is not None}))

    def strengths(name: str) -> tuple[float | None, ...]:
        probe = value["perturbations"][name]["role"] == "probe"
        return (None,) if probe else cell_filter.strength or registered

    seeds = cell_filter.seed or (0,)
    cells = combinations(names["datasets"], names["models"], names["perturbations"], strengths, seeds)
    value["cells"] = [dict(cell) for cell in sorted(cells, key=VideoCell.order)]
    return validate(VideoDesign, value, "command line")
