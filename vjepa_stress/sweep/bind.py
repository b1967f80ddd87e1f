"""Build building blocks from configuration text; no other module does this."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vjepa_stress.blocks import Block
from vjepa_stress.errors import BadConfiguration, IdentityChanged, StressError, did_you_mean
from vjepa_stress.interfaces import Dataset, Encoder, Metric, Perturbation
from vjepa_stress.provenance import shipped
from vjepa_stress.sweep.yaml_file import load_yaml

Kind = TypeVar("Kind", bound=Block)
Group = Literal["data", "model", "perturbation", "metric"]

_BASES: dict[Group, type[Block]] = {
    "data": Dataset,
    "model": Encoder,
    "perturbation": Perturbation,
    "metric": Metric,
}


_NOUNS: dict[Group, str] = {
    "data": "data set",
    "model": "model",
    "perturbation": "perturbation",
    "metric": "metric",
}


class ExecConfig(BaseModel):
    """Where and how fast a sweep runs. No setting changes a result.

    Attributes:
        device: a torch device; `auto` takes CUDA if available.
        workers: worker processes of a job on a CPU; null chooses by the cores, the memory and the measured cost.
        threads: torch threads per process; null shares the cores among the workers.
        batch: cells encoded together; null for 1 on a CPU and 8 on a GPU.
        chunks: number of Hydra jobs that share the clips of one model.
        weights: folder of downloaded checkpoints.
        data: folder of each data set that needs one, by name.
        verify: `full` reads all source files to identify clips; `changed` reads only files that changed since this
            user's last run. Clips are verified again when they are decoded.
        plugins: importable modules or packages with the user's building blocks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "auto"
    workers: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    chunks: int = Field(default=1, ge=1)
    weights: Path
    data: dict[str, Path] | None = None
    verify: Literal["changed", "full"] = "changed"
    plugins: tuple[str, ...] = ()

    def home(self, dataset: str) -> Path | None:
        """Folder of a data set's files; None if it is not set."""
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
    """Validate plain values without coercion: '16' is not 16.

    Raises:
        BadConfiguration: with all mistakes at once and the path of each.
    """
    try:
        # JSON mode is strict about numbers and text, and still accepts a list for a tuple.
        return kind.model_validate_json(json.dumps(dict(fields), default=str), strict=True)
    except ValidationError as error:
        unknown = any(detail["type"] == "extra_forbidden" for detail in error.errors())
        raise BadConfiguration(
            f"invalid values for {kind.__name__}",
            where=where,
            expected=(", ".join(kind.model_fields) or "no fields") if unknown else None,
            found=_mistakes(error),
            fix="correct these values" + ("; remove unknown fields" if unknown else ""),
        ) from error


def locate(target: object, base: type[Kind], where: object, plugins: tuple[str, ...] = ()) -> type[Kind]:
    """Import the class of a building block, and nothing else; call nothing.

    Args:
        target: module and class, as in `_target_` of a YAML file.
        base: base class that the class must have.
        where: origin of `target`, for messages.
        plugins: top-level packages that may be imported in addition to this one.

    Raises:
        BadConfiguration: when the class is not allowed, cannot be imported, or lacks a kind or revision.
    """
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    allowed = ("vjepa_stress", *plugins)
    if module.split(".")[0] not in allowed:
        raise BadConfiguration(
            "the module of this building block is not allowed",
            where=where,
            expected=f"_target_ inside {', '.join(allowed)}",
            found=repr(target),
            fix="allow your module: 'exec.plugins=[my_blocks]', or `plugins` in vjepa-stress.toml",
        )
    try:
        block_class = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # a user's module may fail in any way
        raise BadConfiguration(
            "a building block cannot be imported",
            where=where,
            found=f"{type(error).__name__}: {error}",
            fix=f"correct the module {module}, or `_target_`",
        ) from error
    if not (inspect.isclass(block_class) and issubclass(block_class, base)) or inspect.isabstract(block_class):
        missing = ", ".join(sorted(getattr(block_class, "__abstractmethods__", ())))
        raise BadConfiguration(
            "the class of a building block cannot be used",
            where=where,
            expected=f"a subclass of {base.__name__} that implements all its methods",
            found=f"{target}, which " + (f"does not implement {missing}" if missing else "is not such a class"),
            fix=f"add to the class: {missing}" if missing else "correct `_target_`",
        )
    block_class.identity()
    return block_class


def bind(spec: Mapping[str, Any], base: type[Kind], where: object, plugins: tuple[str, ...] = ()) -> Kind:
    """Build the block that a YAML file describes.

    Args:
        spec: `_target_` and the fields of the class.
        base, where, plugins: as in `locate`.

    Raises:
        BadConfiguration: for an unknown class or field, or an invalid value.
    """
    fields = dict(spec)
    return strictly(locate(fields.pop("_target_", None), base, where, plugins), fields, where)


def rebuild(
    spec: Mapping[str, Any],
    targets: Mapping[str, str],
    base: type[Kind],
    where: object,
    plugins: tuple[str, ...] = (),
) -> Kind:
    """Build the block of a frozen specification.

    Args:
        spec: kind, revision and fields.
        targets: module and class of each kind, as `Blocks.targets` returns them.
        base, where, plugins: as in `locate`.

    Raises:
        IdentityChanged: when the class has another kind, revision or set of fields than the frozen ones.
        BadConfiguration: when no class has this kind, or the class refuses the fields.
    """
    kind = str(spec.get("kind"))
    if kind not in targets:
        raise _no_class(kind, where)
    block_class = locate(targets[kind], base, where, plugins)
    declared = dict(zip(("kind", "revision"), block_class.identity(), strict=True))
    if any(spec.get(key) != value for key, value in declared.items()):
        raise identity_changed(where, {key: spec.get(key) for key in declared}, declared, targets[kind])
    block = strictly(block_class, {key: value for key, value in spec.items() if key not in declared}, where)
    if block.spec() != spec:
        raise identity_changed(where, spec, block.spec(), targets[kind])
    return block


def identity_changed(
    name: object, frozen: Mapping[str, Any], now: Mapping[str, Any], where: object
) -> IdentityChanged:
    """The error for a building block that differs from its frozen specification; it lists the fields."""
    keys = sorted(key for key in {*frozen, *now} if frozen.get(key) != now.get(key))
    return IdentityChanged(
        f"{name} is not configured as registered",
        where=where,
        expected=", ".join(f"{key}: {frozen.get(key)!r}" for key in keys),
        found=", ".join(f"{key}: {now.get(key)!r}" for key in keys),
        fix="restore the registered configuration and code version, or register an amendment",
    )


def _no_class(kind: str, where: object) -> BadConfiguration:
    return BadConfiguration(
        f"no building block of kind {kind!r} is configured",
        where=where,
        fix="give the folder of its YAML file with --config-dir DIR, and its module with 'exec.plugins=[my_blocks]'",
    )


class Blocks:
    """The building blocks of `conf/` and of a user's configuration folder, which is searched last."""

    def __init__(self, extra: Path | None = None, plugins: tuple[str, ...] = ()) -> None:
        self.folders = [shipped("conf"), *([extra] if extra else [])]
        self.plugins = plugins
        self._classes: dict[str, tuple[type[Block], str]] = {}

    def targets(self, kinds: Iterable[str], where: object = None) -> dict[str, str]:
        """Map kinds to their classes, as `_target_` in YAML files: kind → module and class.

        Raises:
            BadConfiguration: when no YAML file names a class of a kind, or two files name different classes of it.
        """
        known = self._known()
        for kind in (requested := sorted(set(kinds))):
            if kind not in known:
                raise _no_class(kind, where)
        return {kind: known[kind][1] for kind in requested}

    def _known(self) -> dict[str, tuple[type[Block], str]]:
        """Every configured kind, with its class and `_target_`."""
        if self._classes:
            return self._classes
        known: dict[str, tuple[type[Block], str]] = {}
        for folder, (group, base) in product(self.folders, _BASES.items()):
            for path in sorted((folder / group).glob("*.yaml")):
                try:
                    target = load_yaml(path)["_target_"]
                    block_class = locate(target, base, path, self.plugins)
                except (StressError, LookupError, TypeError):
                    continue  # the error is raised when this block is used
                kind, _ = block_class.identity()
                first, first_target = known.setdefault(kind, (block_class, target))
                if first is not block_class:
                    raise BadConfiguration(
                        f"two classes declare the kind {kind!r}",
                        where=path,
                        expected=first_target,
                        found=target,
                        fix="give your class another kind",
                    )
        self._classes = known
        return known

    def path(self, group: Group, name: str) -> Path:
        """The YAML file of a block.

        Raises:
            BadConfiguration: when it does not exist; the message lists the known names.
        """
        for folder in self.folders:
            path = folder / group / f"{name}.yaml"
            if path.is_file():
                return path
        known = sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})
        raise BadConfiguration(
            f"there is no {_NOUNS[group]} named {name!r}",
            where=", ".join(str(folder / group) for folder in self.folders),
            expected=", ".join(known),
            fix=did_you_mean(name, known)
            or f"add {group}/{name}.yaml to a folder and give the folder with --config-dir",
        )

    def _bind(self, group: Group, name: str, base: type[Kind]) -> Kind:
        path = self.path(group, name)
        block = bind(load_yaml(path), base, path, self.plugins)
        if type(block).__module__.split(".")[0] != "vjepa_stress":
            self._known()  # raises when the class declares the kind of another class
        return block

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
