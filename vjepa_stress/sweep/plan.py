"""Plan a launch: find the missing cells, and verify code, clips, weights and specifications."""

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
from vjepa_stress.sweep.clips import check_sources, clip_manifest
from vjepa_stress.sweep.selection import CellFilter, select


class Launch(Frozen):
    """Input of the jobs that compute the cells of one launch."""

    schema_: Literal["vjepa-stress/launch/v1"] = Field(alias="schema")
    root: Path
    study: str
    document: Path = Field(description="the preregistration; for an exploratory launch, a separate design")
    prereg_digest: Digest = Field(description="digest of that file")
    exploratory: bool
    attempt: int
    folder: Path
    cells: tuple[VideoCell, ...]
    names: tuple[str, ...] = Field(description="folder names of the cells, in the order of `cells`")
    ledger_checkpoint: CheckpointRecord
    code: CodeState
    weights: dict[str, Digest]
    clips: dict[str, Digest]
    targets: dict[str, str] = Field(description="module and class of each kind of building block")

    def cell_folder(self, cell: VideoCell) -> Path:
        """Folder of a cell of this launch."""
        return self.folder / "cells" / self._names[cell]

    @functools.cached_property
    def _names(self) -> dict[VideoCell, str]:
        return dict(zip(self.cells, self.names, strict=True))

    def load_design(self) -> VideoDesign:
        """The design, after its file has been verified again.

        Raises:
            DocumentTampered: when its bytes have changed since the launch.
        """
        self.verify_document()
        data = self.document.read_bytes()
        if self.exploratory:
            return validate(VideoDesign, parse_json(data, self.document), self.document)
        return as_video(from_bytes(data, self.document).design)

    def verify_document(self) -> None:
        """Verify that the document has not changed since the launch.

        Raises:
            DocumentTampered: when its bytes have changed.
        """
        found = sha256_file(self.document) if self.document.is_file() else None
        if found != self.prereg_digest:
            raise DocumentTampered(
                "the preregistration changed while its cells were computed",
                where=self.document,
                expected=self.prereg_digest,
                found=found or "no such file",
                fix="restore the registered file, then run the same command again",
            )

    def write(self) -> Path:
        """Write the launch for its jobs, next to the attempt's cells; return the path."""
        path = self.folder / "launch.json"
        write_durably(path, canonical_json(self.model_dump(mode="json", by_alias=True)))
        return path

    @classmethod
    def read(cls, path: Path) -> Launch:
        """Read a launch that `write` wrote."""
        return validate(cls, parse_json(path.read_bytes(), path), path)


def choose_attempt(attempts: Attempts, again: bool) -> int:
    """Number of the current attempt; with `again`, number of a new one."""
    last = attempts.under_way
    if again and attempts.launches and not attempts.covered(last):
        raise BadInput(
            f"attempt {last} is not complete; a new attempt can start only after it",
            fix="run without --again, which computes the missing cells",
        )
    return attempts.last + 1 if again else last


def stored_cells(registration: Registration, attempts: Attempts, number: int, folder: Path) -> dict[str, StoredCell]:
    """Verified cells of an attempt by folder name, including those of earlier versions of the registration.

    Raises:
        Tampered: when a shard or manifest is damaged or does not belong here, or a completed attempt has changed.
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
                fix="restore the attempt's folder from a copy",
            )
        found[path.name] = stored
    for leaf in attempts.completions(number):
        attempts.check_root(leaf, found, folder)
    return found


def check_specs(design: VideoDesign, blocks: Blocks) -> None:
    """Compare the current configuration of every building block with the registered one.

    Raises:
        IdentityChanged: with the fields that differ.
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
    """Kinds of the building blocks that the cells use."""
    entries: list[BuildingBlock] = list(design.metrics.values())
    for cell in cells:
        entries += [design.datasets[cell.dataset], design.models[cell.model], design.perturbations[cell.perturbation]]
    return {str(entry.spec.get("kind")) for entry in entries}


def _same(what: str, name: str, expected: Digest | None, found: Digest, fix: str) -> Digest:
    if expected is not None and expected != found:
        raise IdentityChanged(
            f"the {what} of {name} differ from the registered ones", expected=expected, found=found, fix=fix
        )
    return found


def identify_weights(
    registration: Registration, models: Iterable[str], blocks: Blocks, exec_config: ExecConfig
) -> dict[str, Digest]:
    """Digest of each model's weights, compared with the registered or pinned one.

    Raises:
        IdentityChanged: when they differ.
        NotHere: when they are not on this machine.
    """
    entries = as_video(registration.document.design).models
    return {
        name: _same(
            "weights",
            name,
            entries[name].weights_digest or registration.pinned("weights", name),
            blocks.encoder(name).identify(exec_config.weights.expanduser()),
            "restore the registered weights file",
        )
        for name in models
    }


def identify_clips(
    registration: Registration, datasets: Iterable[str], blocks: Blocks, exec_config: ExecConfig
) -> dict[str, bytes]:
    """Clip manifest of each data set, compared with the registered or pinned one.

    Raises:
        IdentityChanged: when the clips differ.
        BadInput: when files are missing or unusable, or the clips have another number of sources than registered.
    """
    design, manifests = as_video(registration.document.design), {}
    for name in datasets:
        manifests[name] = clip_manifest(name, blocks, exec_config, design.frames)
        expected = design.datasets[name].clip_manifest_digest or registration.pinned("clips", name)
        _same("clips", name, expected, sha256(manifests[name]), "restore the registered source files")
        check_sources(name, manifests[name], design.datasets[name].n_sources)
    return manifests


def identify_all(
    registration: Registration, cells: Iterable[VideoCell], blocks: Blocks, exec_config: ExecConfig
) -> tuple[dict[str, bytes], dict[str, Digest]]:
    """Clip manifests and weights of cells.

    Raises:
        BadInput: lists everything that is missing or unusable; `NotHere` when nothing is unusable.
        Tampered: when something differs from the registration.
    """
    manifests: dict[str, bytes] = {}
    weights: dict[str, Digest] = {}
    absent: dict[str, BadInput] = {}
    for name in sorted({cell.dataset for cell in cells}):
        try:
            manifests |= identify_clips(registration, [name], blocks, exec_config)
        except BadInput as error:
            absent[f"data set {name}"] = error
    for name in sorted({cell.model for cell in cells}):
        try:
            weights |= identify_weights(registration, [name], blocks, exec_config)
        except BadInput as error:
            absent[f"model {name}"] = error
    if absent:
        missing = all(isinstance(error, NotHere) for error in absent.values())
        if len(absent) == 1 and not missing:
            raise next(iter(absent.values()))
        listed = [f"{name}: {error.what}; {error.expected}; {error.fix or ''}" for name, error in absent.items()]
        raise (NotHere if missing else BadInput)(
            f"files of {len(absent)} data sets and models are missing" + ("" if missing else " or unusable"),
            where=registration.document.study,
            found="\n    ".join(["", *listed]),
            fix="provide these files, then run the same command again (docs/data.md describes the data sets)",
        )
    return manifests, weights


def check_code(attempts: Attempts, attempt: int, code: CodeState, deviation: str | None) -> None:
    """Refuse to mix code within an attempt, unless there is a deviation.

    Raises:
        CodeChanged: when the code differs from that of the attempt's earlier launches.
    """
    earlier = {leaf.code for leaf in attempts.launches if leaf.attempt == attempt}
    if earlier and earlier != {code.digest} and deviation is None:
        raise CodeChanged(
            f"attempt {attempt} was started with other code",
            expected=", ".join(sorted(earlier)),
            found=code.digest,
            fix='restore that code, or continue with the new code and log the reason: --deviation "WHY"',
        )


def prepare(
    root: StudyRoot,
    registration: Registration,
    cell_filter: CellFilter,
    blocks: Blocks,
    exec_config: ExecConfig,
    *,
    again: bool = False,
    deviation: str | None = None,
) -> tuple[Launch | None, int]:
    """Verify everything and log the launch.

    Returns:
        The launch, or None when no requested cell is missing; and the number of requested cells that have results.

    Raises:
        Tampered, NotEvaluable, BadInput: when anything differs from the registration; then nothing is logged.
    """
    document, study = registration.document, registration.document.study
    design = as_video(document.design)
    attempts = Attempts.of(registration)
    attempt = choose_attempt(attempts, again)
    folder = root.attempt(study, registration.root_digest, attempt)
    stored = stored_cells(registration, attempts, attempt, folder)
    cells = select(design, cell_filter)
    names = {cell: name for name, cell in attempts.current.items()}
    missing = tuple(cell for cell in cells if names[cell] not in stored)
    check_specs(design, blocks)
    code = code_state(blocks.plugins)
    if not missing:
        return None, len(cells)
    check_code(attempts, attempt, code, deviation)
    targets = blocks.targets(kinds_of(design, missing), study)
    manifests, weights = identify_all(registration, missing, blocks, exec_config)
    for name, manifest in manifests.items():
        write_durably(root.clips(study, name, sha256(manifest)), manifest)
    clips = {name: sha256(manifest) for name, manifest in manifests.items()}
    # Find out whether the folder can be written before the ledger logs a launch.
    write_durably(folder / "cells" / ".probe", b"")
    (folder / "cells" / ".probe").unlink()

    def still_newest(view: LedgerView) -> None:
        if freeze.load(root, study, view).digest != registration.digest:
            raise BadInput("the study was amended while the launch was prepared", fix="run the same command again")

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
