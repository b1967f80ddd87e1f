"""What a command line asks of a sweep: Hydra overrides taken apart, after the settings of the study root."""

from __future__ import annotations

import re
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
from vjepa_stress.sweep.draft import CellFilter
from vjepa_stress.sweep.settings import Settings

FIELDS = {
    "data": "dataset",
    "model": "model",
    "perturbation": "perturbation",
    "strength": "strength",
    "seed": "seed",
}
"""Fields of a cell by the key that an override chooses them with."""

_KEYS = (*FIELDS, "chunk", "exec", "training", "hydra")

_LAUNCHERS = {
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "ray_aws": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
}
"""The package that brings each of Hydra's own launchers."""


@dataclass(frozen=True)
class Request:
    """A command line and the settings of its study root, taken apart.

    Attributes:
        overrides: Hydra overrides, those of the settings first.
        config_dir: a configuration folder of the user's own, searched last.
        wanted: which cells were asked for.
        place: where and how fast.
        training: the recipe, where `pretrain` is composed.
    """

    overrides: tuple[str, ...]
    config_dir: Path | None
    wanted: CellFilter
    place: ExecConfig
    training: dict[str, Any] | None = None

    @property
    def blocks(self) -> Blocks:
        """The building blocks this command line can name."""
        return Blocks(self.config_dir, self.place.plugins)

    def choosing_nothing(self) -> Request:
        """This request, of a command for which no cells can be chosen.

        Raises:
            BadInput: when it names a model or anything else that chooses cells.
        """
        if self._chosen:
            raise BadInput(
                "this command takes no choice of cells",
                found=", ".join(sorted(self._chosen)),
                expected="overrides of exec only, for instance exec.threads=2",
            )
        return self

    @property
    def _chosen(self) -> set[str]:
        """What restricts the cells."""
        found = {key for key, value in vars(self.wanted).items() if value is not None}
        return found | {"chunk" for text in self.overrides if text.startswith("chunk=")}


def read_request(
    overrides: Sequence[str], config_dir: Path | None, root: StudyRoot | None = None, application: str = "config"
) -> Request:
    """Take Hydra overrides apart, and make the plugins they name importable.

    Args:
        overrides: as typed; several values may stand for one key, separated by commas.
        config_dir: a configuration folder of the user's own, searched last.
        root: the study root, whose settings the overrides go before.
        application: the file in `conf/` that is composed; `pretrain` has a recipe in it.

    Raises:
        BadInput: when Hydra does not understand them, or they name something unknown.
    """
    settings = Settings.read(root) if root else Settings()
    if config_dir is None and settings.config_dir is not None:
        config_dir = Path(settings.config_dir)
    if config_dir is not None and not config_dir.is_dir():
        raise BadInput("there is no such configuration folder", where=config_dir)
    texts: list[str] = []
    try:
        chosen: dict[str, tuple[Any, ...]] = {}
        plain = []
        for text in (*settings.overrides(), *overrides):
            override = _parsed(text, application)
            key = override.key_or_group
            if key in {*FIELDS, "chunk"}:
                several = override.is_sweep_override()
                chosen[key] = tuple(override.sweep_iterator()) if several else (override.value(),)
            elif override.is_sweep_override():
                raise BadInput("only data, model, perturbation, strength, seed and chunk can be swept", found=text)
            else:
                plain.append(_merging(text, key))
            texts.append(_merging(text, key))
        search = [f"hydra.searchpath=[file://{config_dir.resolve()}]"] if config_dir else []
        with initialize_config_dir(str(shipped("conf")), version_base="1.3", job_name="vjepa-stress"):
            # With Hydra's own part, so that a launcher that is missing is known before a launch is logged.
            config = compose(application, overrides=[*plain, *search], return_hydra_config=True)
        composed: dict[str, Any] = {
            key: OmegaConf.to_container(config[key], resolve=True, throw_on_missing=True)
            for key in ("exec", "training")
            if key in config
        }
    except (HydraException, OmegaConfBaseException) as error:
        raise refused(error) from error
    wanted: dict[str, Any] = {
        field: tuple(_typed(key, value) for value in chosen[key]) for key, field in FIELDS.items() if key in chosen
    }
    place = strictly(ExecConfig, composed["exec"], "exec")
    if root is not None:
        make_importable(root.path, place.plugins)
    return Request(tuple(texts), config_dir, CellFilter(**wanted), place, composed.get("training"))


def _parsed(text: str, application: str) -> Override:
    """One override, of a key that can be set.

    Raises:
        BadInput: saying what was probably meant.
    """
    if "=" not in text and not text.startswith("~"):
        raise BadInput(
            "this is neither an option nor an override",
            found=text,
            expected="KEY=VALUE, for instance exec.threads=2",
        )
    if any(text.count(begin) != text.count(end) for begin, end in ("{}", "[]", "()")):
        raise BadInput(
            "an override has a bracket that is not closed; the shell may have split it",
            found=text,
            fix="put the whole override in quotes: 'exec.data={davis: /path/to/DAVIS}'",
        )
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise refused(error) from error
    key = override.key_or_group
    top = re.split(r"[./@:]", key)[0]
    known = [name for name in _KEYS if name != "training" or application == "pretrain"]
    if top not in known:
        raise BadInput(
            f"{top} cannot be set here", found=text, expected=", ".join(known), fix=did_you_mean(top, known)
        )
    if key.startswith("exec.") and (field := key.split(".")[1]) not in ExecConfig.model_fields:
        raise BadInput(
            f"there is no setting exec.{field}",
            found=text,
            expected=", ".join(ExecConfig.model_fields),
            fix=did_you_mean(field, ExecConfig.model_fields),
        )
    return override


def _merging(text: str, key: str) -> str:
    """An override that adds to the folders of data sets instead of being refused where others are set."""
    return f"++{text}" if re.match(r"exec\.data(\.|$)", key) and text.startswith("exec") else text


def refused(error: Exception) -> BadConfiguration:
    """Hydra's error as one of this package."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = [str(option) for option in error.options or ()]
        package = _LAUNCHERS.get(name) if group == "hydra/launcher" else None
        return BadConfiguration(
            f"the launcher {name} is not installed" if package else f"there is no {group or 'configuration'} {name}",
            expected=", ".join(options) or None,
            found=name,
            fix=f"pip install {package}" if package else did_you_mean(name, options),
        )
    # Hydra's composition error is empty; what went wrong is its cause.
    reason = str(error) or str(error.__cause__)
    return BadConfiguration("Hydra does not accept this command line", found=reason.split("\nSee ")[0])


def _typed(key: str, value: Any) -> str | float | int:
    if key == "seed":
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadInput("a seed is an index", found=value, expected="0, 1, 2, …", fix="for instance: seed=0")
        return value
    if key != "strength":
        return str(value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise BadInput("a strength is a number", found=value, expected="0 < strength <= 1") from error
