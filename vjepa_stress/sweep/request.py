"""Parse Hydra overrides, together with the settings of the study root, into a request for a sweep."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vjepa_stress.errors import BadConfiguration, BadInput, did_you_mean
from vjepa_stress.provenance import make_importable, shipped
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks, ExecConfig, strictly
from vjepa_stress.sweep.selection import CellFilter
from vjepa_stress.sweep.settings import Settings

FIELDS = {
    "data": "dataset",
    "model": "model",
    "perturbation": "perturbation",
    "strength": "strength",
    "seed": "seed",
}
"""Key of an override → factor of a cell that it selects."""

_KEYS = (*FIELDS, "chunk", "exec", "launcher", "training", "hydra")

_ONLY_OF = {"training": "pretrain", "launcher": "config"}
"""Key → the only application that has it."""

_LAUNCHERS = {
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "ray_aws": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
}
"""Launcher → the package that provides it."""

ARRAYS = "hydra_plugins.vjepa_stress.ArrayLauncher"
"""Hydra's name of the class in `sweep/slurm.py`, as in `conf/hydra/launcher/vjepa_slurm.yaml`."""

PROCESSES = "hydra_plugins.vjepa_stress.ProcessLauncher"
"""Hydra's name of the class in `sweep/processes.py`, as in `conf/hydra/launcher/vjepa_joblib.yaml`."""

_COMMANDS = dict.fromkeys(
    (ARRAYS, "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"),
    ("sbatch", "srun", "squeue", "scancel"),
)
"""Class of a launcher → the commands that it needs."""


@dataclass(frozen=True)
class Request:
    """A parsed command line, merged with the settings of the study root.

    Attributes:
        overrides: Hydra overrides, those of the settings first.
        config_dir: the user's configuration folder, searched last.
        cell_filter: levels of the requested cells.
        exec_config: where and how fast to compute.
        training: the training recipe; only for the command `pretrain`.
        chunks: shares of each model's clips, such as 1/4; empty for all.
        launcher: class of Hydra's launcher; presets of several names can have the same.
    """

    overrides: tuple[str, ...]
    config_dir: Path | None
    cell_filter: CellFilter
    exec_config: ExecConfig
    training: dict[str, Any] | None = None
    chunks: tuple[str, ...] = ()
    launcher: str = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"

    @property
    def blocks(self) -> Blocks:
        """The building blocks that this command line can name."""
        return Blocks(self.config_dir, self.exec_config.plugins)

    def verify_launcher(self, study: str) -> None:
        """Verify that the launcher's commands exist, before anything is logged.

        Raises:
            BadConfiguration: when a command of SLURM is missing.
        """
        missing = [name for name in _COMMANDS.get(self.launcher, ()) if shutil.which(name) is None]
        if missing:
            raise BadConfiguration(
                "this machine has no SLURM: commands that the launcher needs are missing",
                where="PATH",
                expected=", ".join(_COMMANDS[self.launcher]),
                found=f"no {', '.join(missing)}",
                fix=f"run the same command on a login node of the cluster, or here: "
                f"vjepa-stress run {study} launcher=local",
            )

    def without_cell_filter(self) -> Request:
        """This request, for a command that does not select cells.

        Raises:
            BadInput: when an override selects cells.
        """
        if self._selecting:
            keys = ", ".join(sorted(self._selecting))
            raise BadInput(
                "this command does not select cells",
                found=f"overrides of {keys}",
                expected="overrides of exec only, for instance exec.threads=2",
                fix=f"remove the overrides of {keys}",
            )
        return self

    @property
    def _selecting(self) -> set[str]:
        """Keys of the overrides that select cells."""
        keys = {key for key, field in FIELDS.items() if getattr(self.cell_filter, field) is not None}
        return keys | {"chunk" for text in self.overrides if text.startswith("chunk=")}


def read_request(
    overrides: Sequence[str], config_dir: Path | None, root: StudyRoot | None = None, application: str = "config"
) -> Request:
    """Parse Hydra overrides, and make the plugins that they name importable.

    Args:
        overrides: as typed; a key may have several values, separated by commas.
        config_dir: the user's configuration folder, searched last.
        root: the study root; overrides take precedence over its settings.
        application: name of the composed file in `conf/`; `pretrain` includes a training recipe.

    Raises:
        BadInput: when an override is invalid or names something unknown.
    """
    settings = Settings.read(root) if root else Settings()
    if config_dir is None and settings.config_dir is not None:
        config_dir = Path(settings.config_dir)
    if config_dir is not None and not config_dir.is_dir():
        raise BadInput(
            "the configuration folder does not exist",
            where=config_dir,
            fix="correct the path after --config-dir, or `config_dir` in vjepa-stress.toml",
        )
    texts: list[str] = []
    try:
        selected: dict[str, tuple[Any, ...]] = {}
        plain = []
        for text in (*settings.overrides(application == "config"), *overrides):
            override = _parsed(text, application)
            key = override.key_or_group
            if key in {*FIELDS, "chunk"}:
                several = override.is_sweep_override()
                selected[key] = tuple(override.sweep_iterator()) if several else (override.value(),)
            elif override.is_sweep_override():
                raise BadInput(
                    f"{key} has several values",
                    found=text,
                    expected="several values for data, model, perturbation, strength, seed and chunk only",
                    fix=f"give one value to {key}",
                )
            else:
                plain.append(_merging(text, key))
            texts.append(_merging(text, key))
        search = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
        with initialize_config_dir(str(shipped("conf")), version_base="1.3", job_name="vjepa-stress"):
            # Compose Hydra's own configuration too, to find a missing launcher before a launch is logged.
            config = compose(application, overrides=[*plain, *search], return_hydra_config=True)
        composed: dict[str, Any] = {
            key: OmegaConf.to_container(config[key], resolve=True, throw_on_missing=True)
            for key in ("exec", "training")
            if key in config
        }
    except (HydraException, OmegaConfBaseException) as error:
        raise refused(error) from error
    levels: dict[str, Any] = {
        field: tuple(_typed(key, value) for value in selected[key])
        for key, field in FIELDS.items()
        if key in selected
    }
    exec_config = strictly(ExecConfig, composed["exec"], "exec")
    if root is not None:
        make_importable(root.path, exec_config.plugins)
    chunks = tuple(str(share) for share in selected.get("chunk", ()) if share is not None)
    launcher = str(config.hydra.launcher["_target_"])
    return Request(
        tuple(texts), config_dir, CellFilter(**levels), exec_config, composed.get("training"), chunks, launcher
    )


def named(overrides: Sequence[str]) -> str:
    """What tells a job from the others of its launch: its model and chunk."""
    return " ".join(text.replace("'", "") for text in overrides if text.startswith(("model=", "chunk=")))


def _parsed(text: str, application: str) -> Override:
    """Parse one override of a key that can be set.

    Raises:
        BadInput: with a suggestion where a known key is similar.
    """
    if "=" not in text and not text.startswith("~"):
        raise BadInput(
            "this argument is neither an option nor an override",
            found=text,
            expected="KEY=VALUE without spaces, for instance exec.threads=2",
            fix="remove the argument, or write it as KEY=VALUE",
        )
    if any(text.count(begin) != text.count(end) for begin, end in ("{}", "[]", "()")):
        raise BadInput(
            "an override has a bracket that is not closed; the shell may have split it at a space",
            found=text,
            fix="put the whole override in quotes: 'exec.data={davis: /path/to/DAVIS}'",
        )
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise refused(error) from error
    key = override.key_or_group
    top = re.split(r"[./@:]", key)[0]
    known = [name for name in _KEYS if _ONLY_OF.get(name, application) == application]
    if top not in known:
        raise BadInput(
            f"unknown key {top} of an override",
            found=text,
            expected=", ".join(known),
            fix=did_you_mean(top, known) or "use one of these keys",
        )
    if key.startswith("exec.") and (field := key.split(".")[1]) not in ExecConfig.model_fields:
        raise BadInput(
            f"unknown setting exec.{field}",
            found=text,
            expected=", ".join(f"exec.{name}" for name in ExecConfig.model_fields),
            fix=did_you_mean(field, ExecConfig.model_fields) or "use one of these settings",
        )
    return override


def _merging(text: str, key: str) -> str:
    """An override that can add a data set's folder to those that are set already."""
    return f"++{text}" if re.match(r"exec\.data(\.|$)", key) and text.startswith("exec") else text


def refused(error: Exception) -> BadConfiguration:
    """Convert Hydra's error to one of this package."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = [str(option) for option in error.options or ()]
        package = _LAUNCHERS.get(name) if group == "hydra/launcher" else None
        if package:
            return BadConfiguration(
                f"the launcher {name} is not installed",
                where=group,
                expected=f"{', '.join(options)} (installed)",
                found=name,
                fix=f"pip install {package}",
            )
        installable = [*options, *_LAUNCHERS] if group == "hydra/launcher" else options
        return BadConfiguration(
            f"{group or 'the configuration'} has no option {name}",
            expected=", ".join(dict.fromkeys(installable)) or None,
            found=name,
            fix=did_you_mean(name, installable) or "choose one of these options",
        )
    # The message of Hydra's composition error is empty; the reason is in its cause.
    reason = str(error) or str(error.__cause__)
    return BadConfiguration(
        "Hydra does not accept the overrides",
        found=reason.split("\nSee ")[0],
        fix="correct the override; put values with brackets, braces or spaces in quotes",
    )


def _typed(key: str, value: Any) -> str | float | int:
    if key == "seed":
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadInput(
                "a seed must be an integer of at least 0",
                found=f"seed={value}",
                expected="0, 1, 2, …",
                fix="give integers separated by commas: seed=0,1",
            )
        return value
    if key != "strength":
        return str(value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise BadInput(
            "a strength must be a number",
            found=f"strength={value}",
            expected="numbers above 0 and at most 1",
            fix="give numbers separated by commas: strength=0.2,0.4",
        ) from error
