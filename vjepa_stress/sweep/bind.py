"""The one crossing from configuration text to building blocks."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vjepa_stress.blocks import Block
from vjepa_stress.errors import BadConfiguration
from vjepa_stress.interfaces import Dataset, Encoder, Metric, Perturbation
from vjepa_stress.provenance import shipped
from vjepa_stress.sweep.yaml_file import load_yaml

Kind = TypeVar("Kind", bound=Block)
Group = Literal["data", "model", "perturbation", "metric"]


class Exec(BaseModel):
    """Where and how fast a sweep runs; nothing here may change a number.

    Attributes:
        device: `auto` takes CUDA where there is one.
        threads: torch threads of each process, null for torch's own choice.
        chunks: how many Hydra jobs share the cells of one model.
        weights: folder of downloaded checkpoints.
        scratch: folder for decoded clips and clean features, null for the system's own.
        data: folder of each data set that needs one, by name.
        verify: whether clips are identified from files read now (`full`), or only those read again that changed since
            this user's last run; clips are verified once more when they are decoded.
        plugins: importable packages with building blocks of the user's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    chunks: int = Field(default=1, ge=1)
    weights: Path
    scratch: Path | None = None
    data: dict[str, Path] | None = None
    verify: Literal["changed", "full"] = "changed"
    plugins: tuple[str, ...] = ()

    def home(self, dataset: str) -> Path | None:
        """Folder of a data set's files, or None."""
        folder = (self.data or {}).get(dataset)
        return folder.expanduser() if folder else None


def _mistakes(error: ValidationError) -> str:
    lines = []
    for detail in error.errors():
        path = ".".join(str(part) for part in detail["loc"])
        lines.append(f"{path}: {detail['msg']}" + (f", found {detail['input']!r}" if path else ""))
    return "; ".join(lines)


Model = TypeVar("Model", bound=BaseModel)


def strictly(kind: type[Model], fields: Mapping[str, Any], where: object) -> Model:
    """Validate plain values without any coercion: '16' is not 16.

    Raises:
        BadConfiguration: with all mistakes at once and the path of each.
    """
    try:
        # JSON mode is strict about numbers and text, and still takes a list for a tuple.
        return kind.model_validate_json(json.dumps(dict(fields), default=str), strict=True)
    except ValidationError as error:
        raise BadConfiguration(
            f"this configuration does not fit {kind.__name__}",
            where=where,
            expected=", ".join(kind.model_fields) or "no field",
            found=_mistakes(error),
        ) from error


def bind(spec: Mapping[str, Any], base: type[Kind], where: object, plugins: tuple[str, ...] = ()) -> Kind:
    """Build the block that a specification names; nothing else is imported or called.

    Args:
        spec: `_target_` and the fields of the class.
        base: the kind of block it must be.
        plugins: top-level packages beside this one that may be imported.

    Raises:
        BadConfiguration: for an unknown class or field, a wrong type or value.
    """
    fields = dict(spec)
    target = fields.pop("_target_", None)
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    allowed = ("vjepa_stress", *plugins)
    if module.split(".")[0] not in allowed:
        raise BadConfiguration(
            "this is no class that may be used as a building block",
            where=where,
            expected=f"_target_ inside {', '.join(allowed)}",
            found=repr(target),
            todo="name a package of your own with exec.plugins=[package]",
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise BadConfiguration("a building block cannot be imported", where=where, found=str(error)) from error
    if not (inspect.isclass(found) and issubclass(found, base)) or inspect.isabstract(found):
        raise BadConfiguration(
            f"this is no {base.__name__.lower()}", where=where, expected=f"a {base.__name__}", found=target
        )
    return strictly(found, fields, where)


class Blocks:
    """The named building blocks of `conf/` and, after it, of a user's own configuration folder."""

    def __init__(self, extra: Path | None = None, plugins: tuple[str, ...] = ()) -> None:
        self.folders = [shipped("conf"), *([extra] if extra else [])]
        self.plugins = plugins

    def path(self, group: Group, name: str) -> Path:
        """The YAML of a block.

        Raises:
            BadConfiguration: when there is none; the message lists what there is.
        """
        for folder in self.folders:
            path = folder / group / f"{name}.yaml"
            if path.is_file():
                return path
        known = sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})
        raise BadConfiguration(
            f"there is no {group} named {name!r}",
            where=", ".join(str(folder / group) for folder in self.folders),
            expected=", ".join(known),
            todo="add a YAML of your own and name its folder with --config-dir",
        )

    def _bind(self, group: Group, name: str, base: type[Kind]) -> Kind:
        path = self.path(group, name)
        return bind(load_yaml(path), base, path, self.plugins)

    def dataset(self, name: str) -> Dataset:
        """A data set by name."""
        return self._bind("data", name, Dataset)

    def encoder(self, name: str) -> Encoder:
        """A model by name."""
        return self._bind("model", name, Encoder)

    def perturbation(self, name: str) -> Perturbation:
        """A perturbation by name."""
        return self._bind("perturbation", name, Perturbation)

    def metric(self, name: str) -> Metric:
        """A metric by name."""
        return self._bind("metric", name, Metric)
