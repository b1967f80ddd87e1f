"""Plan a launch: find the missing cells, and verify code, clips, weights and specifications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vjepa_stress import ledger
from vjepa_stress.blocks import Block
from vjepa_stress.design.video import BuildingBlock, VideoCell, VideoDesign, as_video
from vjepa_stress.digest import Digest, sha256
from vjepa_stress.disk import write_durably, writing
from vjepa_stress.errors import (
    BadInput,
    CodeChanged,
    IdentityChanged,
    MachineFailure,
    ManifestTampered,
    NotHere,
)
from vjepa_stress.ledger import Checkpoint, Launched, LedgerView
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.provenance import CodeState, code_state
from vjepa_stress.records import (
    Attempts,
    CheckpointRecord,
    StoredCell,
    cell_folders,
    read_cell,
)
from vjepa_stress.records.life import Life, lives, sign_of_life
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks, ExecConfig, Group, identity_changed
from vjepa_stress.sweep.clips import check_sources, clip_manifest
from vjepa_stress.sweep.commit import assemble_earlier, earlier_launches
from vjepa_stress.sweep.launch import Launch
from vjepa_stress.sweep.selection import CellFilter, select


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


@contextmanager
def planning(attempt_folder: Path) -> Iterator[None]:
    """Hold the lock of an attempt while a launch is planned: only one process decides at a time what is missing.

    Raises:
        MachineFailure: when another process holds it for a minute.
        CannotWrite: when the folder cannot be written.
    """
    # This also finds out whether the folder can be written before the ledger logs a launch.
    write_durably(attempt_folder / "cells" / ".probe", b"")
    (attempt_folder / "cells" / ".probe").unlink(missing_ok=True)
    try:
        with writing(attempt_folder), FileLock(attempt_folder / ".plan.lock", timeout=60):
            yield
    except Timeout as error:
        raise MachineFailure(
            "another process plans a launch of this study",
            where=attempt_folder,
            fix="wait until it ends, then run the same command again",
        ) from error


def under_way(attempt_folder: Path) -> dict[str, Life]:
    """Names of the cells that living launches compute, with a process of the launch."""
    cells: dict[str, Life] = {}
    for launch in earlier_launches(attempt_folder):
        working = [life for life in (*lives(launch.folder), *lives(launch.folder / "jobs")) if life.alive]
        if working:
            cells |= dict.fromkeys(launch.cells, working[0])
    return cells


def prepare(
    root: StudyRoot,
    registration: Registration,
    cell_filter: CellFilter,
    blocks: Blocks,
    exec_config: ExecConfig,
    signs: ExitStack,
    *,
    again: bool = False,
    deviation: str | None = None,
) -> tuple[Launch | None, int]:
    """Verify everything and log the launch, with a sign of life of this process until `signs` is closed.

    Returns:
        The launch, or None when no requested cell is missing; and the number of requested cells that have results.

    Raises:
        Tampered, NotEvaluable, BadInput: when anything differs from the registration, or another run computes all
            missing cells; then nothing is logged.
    """
    document, study = registration.document, registration.document.study
    design = as_video(document.design)
    attempts = Attempts.of(registration)
    attempt = choose_attempt(attempts, again)
    folder = root.attempt(study, registration.root_digest, attempt)
    if attempt <= attempts.last:
        assemble_earlier(folder)
    cells = select(design, cell_filter)
    names = {cell: name for name, cell in attempts.current.items()}
    check_specs(design, blocks)
    code = code_state(blocks.plugins)
    stored = stored_cells(registration, attempts, attempt, folder)
    missing = tuple(cell for cell in cells if names[cell] not in stored)
    if not missing:
        return None, len(cells)
    check_code(attempts, attempt, code, deviation)
    targets = blocks.targets(kinds_of(design, missing), study)
    manifests, weights = identify_all(registration, missing, blocks, exec_config)
    for name, manifest in manifests.items():
        write_durably(root.clips(study, name, sha256(manifest)), manifest)
    clips = {name: sha256(manifest) for name, manifest in manifests.items()}

    def still_newest(view: LedgerView) -> None:
        if freeze.load(root, study, view).digest != registration.digest:
            raise BadInput("the study was amended while the launch was prepared", fix="run the same command again")

    with planning(folder):
        others = under_way(folder)
        free = tuple(
            cell for cell in missing if names[cell] not in others and not (folder / "cells" / names[cell]).exists()
        )
        if not free and not others:  # another run has computed them meanwhile
            return None, len(cells)
        if not free:
            raise _busy(study, len(missing), others)
        _, checkpoint = ledger.append(
            root,
            Launched,
            study=study,
            document=registration.digest,
            attempt=attempt,
            cells=[names[cell] for cell in free],
            code=code.digest,
            dirty=code.dirty,
            commit=code.commit,
            identities={"weights": weights, "clips": clips},
            specs={name: design.datasets[name].spec_digest for name in clips},
            deviation=deviation,
            prepare=still_newest,
        )
        launch = Launch(
            root=root.path,
            study=study,
            exploratory=False,
            document=root.document(study, document.version),
            prereg_digest=registration.digest,
            attempt=attempt,
            attempt_folder=folder,
            cells={names[cell]: cell for cell in free},
            ledger_checkpoint=CheckpointRecord(size=checkpoint.size, root=checkpoint.root),
            code=code,
            weights=weights,
            clips=clips,
            targets=targets,
        )
        # Before another process may plan: it must find out who computes these cells.
        signs.enter_context(sign_of_life(launch.sign))
        launch.write()
    return launch, len(cells) - len(missing)


def _busy(study: str, missing: int, others: Mapping[str, Life]) -> BadInput:
    at_work = sorted({str(life) for life in others.values()})
    return BadInput(
        f"another run computes the {missing} missing cell{'s' if missing > 1 else ''}",
        where=study,
        found="; ".join(at_work),
        fix=f"wait for it (vjepa-stress status {study}), or stop it and run the same command again",
    )
