"""The one crossing from configuration text to building blocks."""

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


class ExecConfig(BaseModel):
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


def locate(target: object, base: type[Kind], where: object, plugins: tuple[str, ...] = ()) -> type[Kind]:
    """Import the class of a building block; nothing else is imported, and nothing is called.

    Args:
        target: module and class, as `_target_` of a YAML names them.
        base: the type of block it must be.
        where: what names it, for messages.
        plugins: top-level packages beside this one that may be imported.

    Raises:
        BadConfiguration: when it is no class that may be used, or one without kind and revision.
    """
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    allowed = ("vjepa_stress", *plugins)
    if module.split(".")[0] not in allowed:
        raise BadConfiguration(
            "this is no class that may be used as a building block",
            where=where,
            expected=f"_target_ inside {', '.join(allowed)}",
            found=repr(target),
            fix="name your own module: 'exec.plugins=[my_blocks]', or `plugins` in vjepa-stress.toml",
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # a module of the user's own may fail in any way
        found = f"{type(error).__name__}: {error}"
        raise BadConfiguration("a building block cannot be imported", where=where, found=found) from error
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing and inspect.isclass(found) and issubclass(found, base):
        raise BadConfiguration(
            f"the class {found.__name__} is abstract",
            where=where,
            expected=f"every method that {base.__name__} declares",
            found=f"no {', no '.join(missing)}",
            todo=f"define {', '.join(missing)} in {target}",
        )
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise BadConfiguration(
            f"this is no {base.__name__.lower()}", where=where, expected=f"a {base.__name__}", found=target
        )
    found.identity()
    return found


def bind(spec: Mapping[str, Any], base: type[Kind], where: object, plugins: tuple[str, ...] = ()) -> Kind:
    """Build the block that a YAML describes.

    Args:
        spec: `_target_` and the fields of the class.
        base, where, plugins: as in `locate`.

    Raises:
        BadConfiguration: for an unknown class or field, a wrong type or value.
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
        targets: where the class of each kind lies now, as `Blocks.targets` gives them.
        base, where, plugins: as in `locate`.

    Raises:
        IdentityChanged: when the class found has another kind, revision or set of fields than was frozen.
        BadConfiguration: when there is no class of this kind, or it refuses the fields.
    """
    kind = str(spec.get("kind"))
    if kind not in targets:
        raise _no_class(kind, where)
    found = locate(targets[kind], base, where, plugins)
    declared = dict(zip(("kind", "revision"), found.identity(), strict=True))
    if any(spec.get(key) != value for key, value in declared.items()):
        raise identity_changed(where, {key: spec.get(key) for key in declared}, declared, targets[kind])
    block = strictly(found, {key: value for key, value in spec.items() if key not in declared}, where)
    if block.spec() != spec:
        raise identity_changed(where, spec, block.spec(), targets[kind])
    return block


def identity_changed(
    name: object, frozen: Mapping[str, Any], now: Mapping[str, Any], where: object
) -> IdentityChanged:
    """The error that says in which fields a building block differs from its frozen specification."""
    keys = sorted(key for key in {*frozen, *now} if frozen.get(key) != now.get(key))
    return IdentityChanged(
        f"{name} is not configured as registered",
        where=where,
        expected=", ".join(f"{key}: {frozen.get(key)!r}" for key in keys),
        found=", ".join(f"{key}: {now.get(key)!r}" for key in keys),
        fix="restore the configuration and the version of the code that has it, or register an amendment",
    )


def _no_class(kind: str, where: object) -> BadConfiguration:
    return BadConfiguration(
        f"no class of the kind {kind!r} is known here",
        where=where,
        fix="name the folder of its YAML with --config-dir, and its package with exec.plugins=[package]",
    )


class Blocks:
    """The named building blocks of `conf/` and, after it, of a user's own configuration folder."""

    def __init__(self, extra: Path | None = None, plugins: tuple[str, ...] = ()) -> None:
        self.folders = [shipped("conf"), *([extra] if extra else [])]
        self.plugins = plugins
        self._classes: dict[str, tuple[type[Block], str]] = {}

    def targets(self, kinds: Iterable[str], where: object = None) -> dict[str, str]:
        """Where the classes of some kinds lie, as YAMLs name them: kind → `_target_`.

        Raises:
            BadConfiguration: when no YAML names a class of one of the kinds, or two name different classes of a kind.
        """
        known = self._known()
        for kind in (wanted := sorted(set(kinds))):
            if kind not in known:
                raise _no_class(kind, where)
        return {kind: known[kind][1] for kind in wanted}

    def _known(self) -> dict[str, tuple[type[Block], str]]:
        """Every kind that a YAML names a class of, with the class and its `_target_`."""
        if self._classes:
            return self._classes
        known: dict[str, tuple[type[Block], str]] = {}
        for folder, (group, base) in product(self.folders, _BASES.items()):
            for path in sorted((folder / group).glob("*.yaml")):
                try:
                    target = load_yaml(path)["_target_"]
                    found = locate(target, base, path, self.plugins)
                except (StressError, LookupError, TypeError):
                    continue  # who asks for this very block is told what is wrong with it
                kind, _ = found.identity()
                first, home = known.setdefault(kind, (found, target))
                if first is not found:
                    raise BadConfiguration(
                        f"two classes declare the kind {kind!r}",
                        where=path,
                        expected=home,
                        found=target,
                        fix="give the class of your own a kind of its own",
                    )
        self._classes = known
        return known

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
            fix=did_you_mean(name, known) or "add a YAML of your own and name its folder with --config-dir",
        )

    def _bind(self, group: Group, name: str, base: type[Kind]) -> Kind:
        path = self.path(group, name)
        block = bind(load_yaml(path), base, path, self.plugins)
        if type(block).__module__.split(".")[0] != "vjepa_stress":
            self._known()  # refuses a class that takes the kind of another one
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
