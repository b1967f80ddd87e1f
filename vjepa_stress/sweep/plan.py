"""Planning a launch: which cells are missing, and whether everything is what was registered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from vjepa_stress import ledger
from vjepa_stress.blocks import Block
from vjepa_stress.design.video import BuildingBlock, VideoCell, VideoDesign, as_video
from vjepa_stress.digest import Digest, canonical_json, parse_json, sha256, sha256_file
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import (
    BadInput,
    CodeChanged,
    DocumentTampered,
    IdentityChanged,
    ManifestTampered,
    NotHere,
)
from vjepa_stress.fields import Frozen
from vjepa_stress.ledger import Checkpoint, Launched, LedgerView
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.freeze import Registration, from_bytes
from vjepa_stress.prereg.schema import validate
from vjepa_stress.provenance import CodeState, code_state
from vjepa_stress.records import (
    Attempts,
    CheckpointRecord,
    StoredCell,
    cell_folders,
    read_cell,
)
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks, ExecConfig, Group, identity_changed
from vjepa_stress.sweep.draft import CellFilter, clip_manifest
from vjepa_stress.sweep.selection import select


class Launch(Frozen):
    """What a launching process tells the jobs that compute the cells."""

    schema_: Literal["vjepa-stress/launch/v1"] = Field(alias="schema")
    root: Path
    study: str
    document: Path = Field(description="the preregistration; for an exploratory launch, a design of its own")
    prereg_digest: Digest = Field(description="of that file")
    exploratory: bool
    attempt: int
    folder: Path
    cells: tuple[VideoCell, ...]
    names: tuple[str, ...] = Field(description="folder names of the cells, in their order")
    ledger_checkpoint: CheckpointRecord
    code: CodeState
    weights: dict[str, Digest]
    clips: dict[str, Digest]
    targets: dict[str, str] = Field(description="where the class of each kind of building block lies")

    def cell_folder(self, cell: VideoCell) -> Path:
        """Where a cell of this launch is kept."""
        return self.folder / "cells" / self._names[cell]

    @functools.cached_property
    def _names(self) -> dict[VideoCell, str]:
        return dict(zip(self.cells, self.names, strict=True))

    def load_design(self) -> VideoDesign:
        """The design, its file verified again.

        Raises:
            DocumentTampered: when its bytes have changed since the launch.
        """
        self.verify_document()
        data = self.document.read_bytes()
        if self.exploratory:
            return validate(VideoDesign, parse_json(data, self.document), self.document)
        return as_video(from_bytes(data, self.document).design)

    def verify_document(self) -> None:
        """Refuse to go on when the frozen file has changed since the launch."""
        found = sha256_file(self.document) if self.document.is_file() else None
        if found != self.prereg_digest:
            raise DocumentTampered(
                "the preregistration changed while its cells were computed",
                where=self.document,
                expected=self.prereg_digest,
                found=found or "no such file",
                fix="restore the registered bytes, then run again",
            )

    def write(self) -> Path:
        """Write the launch for its jobs, beside the attempt's cells."""
        path = self.folder / "launch.json"
        write_durably(path, canonical_json(self.model_dump(mode="json", by_alias=True)))
        return path

    @classmethod
    def read(cls, path: Path) -> Launch:
        """Read what `write` wrote."""
        return validate(cls, parse_json(path.read_bytes(), path), path)


def choose_attempt(attempts: Attempts, again: bool) -> int:
    """The attempt to work on, or a new one with `again`."""
    last = attempts.under_way
    if again and attempts.launches and not attempts.covered(last):
        raise BadInput(
            f"attempt {last} is not complete, so there is nothing to run again",
            fix="run without --again: it goes on with the missing cells",
        )
    return attempts.last + 1 if again else last


def stored_cells(registration: Registration, attempts: Attempts, number: int, folder: Path) -> dict[str, StoredCell]:
    """Cells that an attempt already has, by folder name, each verified; those of earlier documents too.

    Raises:
        Tampered: when a shard or manifest does not hold, or belongs elsewhere, or a completed attempt has changed.
    """
    known, found = {**attempts.current, **attempts.former}, {}
    for path in cell_folders(folder):
        stored = read_cell(path)
        manifest = stored.manifest
        if (
            known.get(path.name) != manifest.cell
            or path.name not in attempts.names.get(manifest.prereg_digest, ())
            or not registration.ledger.contains(Checkpoint(*vars(manifest.ledger_checkpoint).values()))
        ):
            raise ManifestTampered(
                "a manifest belongs to another cell, study or ledger",
                where=path,
                expected=f"{' or '.join(attempts.names)}, {known.get(path.name) or 'no such cell'}",
                found=f"{manifest.prereg_digest}, {manifest.cell}",
                fix="restore the attempt from a copy",
            )
        found[path.name] = stored
    for leaf in attempts.completions(number):
        attempts.check_root(leaf, found, folder)
    return found


def check_specs(design: VideoDesign, blocks: Blocks) -> None:
    """Compare every building block as configured now with what was registered.

    Raises:
        IdentityChanged: naming the fields that differ.
    """
    groups: tuple[tuple[Mapping[str, BuildingBlock], Callable[[str], Block], Group], ...] = (
        (design.datasets, blocks.dataset, "data"),
        (design.models, blocks.encoder, "model"),
        (design.perturbations, blocks.perturbation, "perturbation"),
        (design.metrics, blocks.metric, "metric"),
    )
    for entries, load, group in groups:
        for name, entry in entries.items():
            spec = load(name).spec()
            if spec != entry.spec:
                raise identity_changed(f"{group} {name}", entry.spec, spec, blocks.path(group, name))


def kinds_of(design: VideoDesign, cells: Iterable[VideoCell]) -> set[str]:
    """Kinds of the building blocks that cells are computed with."""
    entries: list[BuildingBlock] = list(design.metrics.values())
    for cell in cells:
        entries += [design.datasets[cell.dataset], design.models[cell.model], design.perturbations[cell.perturbation]]
    return {str(entry.spec.get("kind")) for entry in entries}


def _same(what: str, name: str, expected: Digest | None, found: Digest, fix: str) -> Digest:
    if expected is not None and expected != found:
        raise IdentityChanged(
            f"the {what} of {name} are not the registered ones", expected=expected, found=found, fix=fix
        )
    return found


def identify_weights(
    registration: Registration, models: Iterable[str], blocks: Blocks, place: ExecConfig
) -> dict[str, Digest]:
    """Digest of each model's weights, as registered or pinned.

    Raises:
        IdentityChanged: when they are others.
        BadCheckpoint: when they are not there.
    """
    entries = as_video(registration.document.design).models
    return {
        name: _same(
            "weights",
            name,
            entries[name].weights_digest or registration.pinned("weights", name),
            blocks.encoder(name).identify(place.weights.expanduser()),
            "put the registered checkpoint back",
        )
        for name in models
    }


def identify_clips(
    registration: Registration, datasets: Iterable[str], blocks: Blocks, place: ExecConfig
) -> dict[str, bytes]:
    """Clip manifest of each data set, as registered or pinned.

    Raises:
        IdentityChanged: when the files are others.
        BadInput: when files are missing or unusable.
    """
    design, manifests = as_video(registration.document.design), {}
    for name in datasets:
        manifests[name] = clip_manifest(name, blocks, place, design.frames)
        expected = design.datasets[name].clip_manifest_digest or registration.pinned("clips", name)
        _same("clips", name, expected, sha256(manifests[name]), "put the registered files back")
    return manifests


def identify_all(
    registration: Registration, cells: Iterable[VideoCell], blocks: Blocks, place: ExecConfig
) -> tuple[dict[str, bytes], dict[str, Digest]]:
    """Clip manifests and weights of cells.

    Raises:
        BadInput: naming everything that is not on this machine or cannot be used, so that nobody learns of it one by
            one; `NotHere` where all of it is only missing.
        Tampered: when something is not as registered.
    """
    manifests: dict[str, bytes] = {}
    weights: dict[str, Digest] = {}
    absent: dict[str, BadInput] = {}
    for name in sorted({cell.dataset for cell in cells}):
        try:
            manifests |= identify_clips(registration, [name], blocks, place)
        except BadInput as error:
            absent[f"data set {name}"] = error
    for name in sorted({cell.model for cell in cells}):
        try:
            weights |= identify_weights(registration, [name], blocks, place)
        except BadInput as error:
            absent[f"model {name}"] = error
    if absent:
        missing = all(isinstance(error, NotHere) for error in absent.values())
        if len(absent) == 1 and not missing:
            raise next(iter(absent.values()))
        listed = [
            f"{name}: {error.what}; {error.expected}; {(error.fix or '').replace('NAME', name.split()[-1])}"
            for name, error in absent.items()
        ]
        raise (NotHere if missing else BadInput)(
            f"files of {len(absent)} data sets and models are not on this machine"
            + ("" if missing else ", or not what they should be"),
            where=registration.document.study,
            found="\n    ".join(["", *listed]),
            fix="get them, then run the same command again; data sets are described in docs/data.md",
        )
    return manifests, weights


def check_code(attempts: Attempts, attempt: int, code: CodeState, deviation: str | None) -> None:
    """Refuse to mix code within an attempt, unless a deviation says why.

    Raises:
        CodeChanged: when the code differs from that of the attempt's earlier launches.
    """
    earlier = {leaf.code for leaf in attempts.launches if leaf.attempt == attempt}
    if earlier and earlier != {code.digest} and deviation is None:
        raise CodeChanged(
            f"attempt {attempt} was started with other code",
            expected=", ".join(sorted(earlier)),
            found=code.digest,
            fix='go back to that code, start over with --again, or record why: --deviation "reason"',
        )


def prepare(
    root: StudyRoot,
    registration: Registration,
    wanted: CellFilter,
    blocks: Blocks,
    place: ExecConfig,
    *,
    again: bool = False,
    deviation: str | None = None,
) -> tuple[Launch | None, int]:
    """Check everything, log the launch, and say what to compute.

    Returns:
        The launch, or None when no cell that was asked for is missing; and how many of those there already are.

    Raises:
        Tampered, NotEvaluable, BadInput: when anything is not as registered; then nothing is logged.
    """
    document, study = registration.document, registration.document.study
    design = as_video(document.design)
    attempts = Attempts.of(registration)
    attempt = choose_attempt(attempts, again)
    folder = root.attempt(study, registration.root_digest, attempt)
    stored = stored_cells(registration, attempts, attempt, folder)
    cells = select(design, wanted)
    names = {cell: name for name, cell in attempts.current.items()}
    missing = tuple(cell for cell in cells if names[cell] not in stored)
    check_specs(design, blocks)
    code = code_state(blocks.plugins)
    if not missing:
        return None, len(cells)
    check_code(attempts, attempt, code, deviation)
    targets = blocks.targets(kinds_of(design, missing), study)
    manifests, weights = identify_all(registration, missing, blocks, place)
    for name, manifest in manifests.items():
        write_durably(root.clips(study, name, sha256(manifest)), manifest)
    clips = {name: sha256(manifest) for name, manifest in manifests.items()}
    # A folder that cannot be written must be known before the ledger says that a launch took place.
    write_durably(folder / "cells" / ".probe", b"")
    (folder / "cells" / ".probe").unlink()

    def still_newest(view: LedgerView) -> None:
        if freeze.load(root, study, view).digest != registration.digest:
            raise BadInput("the study was amended while this launch was prepared", fix="run the same command again")

    _, checkpoint = ledger.append(
        root,
        Launched,
        study=study,
        document=registration.digest,
        attempt=attempt,
        cells=[names[cell] for cell in missing],
        code=code.digest,
        dirty=code.dirty,
        commit=code.commit,
        identities={"weights": weights, "clips": clips},
        specs={name: design.datasets[name].spec_digest for name in clips},
        deviation=deviation,
        prepare=still_newest,
    )
    launch = Launch(
        schema="vjepa-stress/launch/v1",
        root=root.path,
        study=study,
        exploratory=False,
        document=root.document(study, document.version),
        prereg_digest=registration.digest,
        attempt=attempt,
        folder=folder,
        cells=missing,
        names=tuple(names[cell] for cell in missing),
        ledger_checkpoint=CheckpointRecord(size=checkpoint.size, root=checkpoint.root),
        code=code,
        weights=weights,
        clips=clips,
        targets=targets,
    )
    return launch, len(cells) - len(missing)
