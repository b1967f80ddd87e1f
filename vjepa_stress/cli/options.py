"""Arguments and options that several commands share, and their shell completion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vjepa_stress.errors import StressError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vjepa_stress.study_root import StudyRoot
    from vjepa_stress.sweep.request import Request


def study_names() -> list[str]:
    """Names of the studies in the nearest study root; empty outside a study root."""
    from vjepa_stress import ledger
    from vjepa_stress.study_root import StudyRoot

    try:
        return sorted({leaf.study for leaf in ledger.read(StudyRoot.find()).leaves})
    except StressError:
        return []


def conf_folders(config_dir: Path | None, root: StudyRoot | None) -> list[Path]:
    """Folders with building blocks: the package's, then the user's. Makes the user's plugins importable."""
    from vjepa_stress.provenance import make_importable, shipped
    from vjepa_stress.sweep.settings import Settings

    settings = Settings.read(root) if root else Settings()
    if root:
        make_importable(root.path, tuple(settings.plugins or ()))
    own = config_dir or (Path(settings.config_dir) if settings.config_dir else None)
    return [shipped("conf"), *([own] if own else [])]


def nearest_root(given: Path | None) -> StudyRoot | None:
    """The given study root, or the nearest one from the current folder upwards, or None."""
    from vjepa_stress.study_root import StudyRoot

    if given is not None:
        return StudyRoot.find(given=given)
    try:
        return StudyRoot.find()
    except StressError:
        return None


def _block_names(group: str) -> list[str]:
    from vjepa_stress.sweep.catalogue import names

    try:
        return names(group, conf_folders(None, nearest_root(None)))
    except StressError:
        return []


def _models() -> list[str]:
    return _block_names("model")


def _datasets() -> list[str]:
    return _block_names("data")


def _overrides(incomplete: str) -> list[str]:
    key, equals, _ = incomplete.partition("=")
    if not equals:
        keys = (
            "model",
            "data",
            "perturbation",
            "strength",
            "seed",
            "launcher",
            "exec.device",
            "exec.workers",
            "exec.threads",
            "exec.batch",
            "exec.chunks",
            "exec.data",
        )
        return [f"{name}=" for name in keys]
    return [f"{key}={name}" for name in _block_names(key)]


Study = Annotated[str, typer.Argument(metavar="STUDY", help="name of a registered study", autocompletion=study_names)]
Draft = Annotated[Path, typer.Argument(metavar="DRAFT", help="path of a draft (YAML)")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Hydra overrides, for instance exec.threads=2",
        autocompletion=_overrides,
        show_default=False,
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="name of a model", autocompletion=_models)]
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="name of a data set", autocompletion=_datasets)]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="study root; default: the nearest folder upwards that has a folder prereg/",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON on standard output")]
ConfigDir = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        metavar="DIR",
        help="folder with your own building blocks; default: `config_dir` in vjepa-stress.toml",
        show_default=False,
    ),
]
Verify = Annotated[
    Literal["changed", "full"] | None,
    typer.Option(
        "--verify",
        help="source files to read again: changed ones (the default) or all; same as exec.verify",
        show_default=False,
    ),
]
Exploratory = Annotated[
    bool, typer.Option("--exploratory", help="use incomplete results too; no verdict is confirmed or refuted")
]


def request_of(
    overrides: Sequence[str] | None,
    config_dir: Path | None,
    root: StudyRoot | None,
    *,
    verify: str | None = None,
    application: str = "config",
) -> Request:
    """Parse the overrides of a command line, which take precedence over the settings of the study root."""
    from vjepa_stress.sweep.request import read_request

    chosen = [f"exec.verify={verify}"] if verify else []
    return read_request([*(overrides or ()), *chosen], config_dir, root, application)
