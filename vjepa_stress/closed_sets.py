"""Closed sets of classes: one file per member, found by listing the folder of a package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from typing import TypeVar, get_args

from pydantic import BaseModel

Member = TypeVar("Member", bound=BaseModel)


def find_members(package: str, folders: Iterable[str], base: type[Member], tag: str) -> dict[str, type[Member]]:
    """The concrete subclasses of `base` in the modules of a package, by the literal value of their field `tag`.

    Modules named `base…` and subpackages are not searched.

    Raises:
        TypeError: when two classes have the same tag.
    """
    members: dict[str, type[Member]] = {}
    for module in sorted(pkgutil.iter_modules(folders), key=lambda info: info.name):
        if module.ispkg or module.name.startswith("base"):
            continue
        name = f"{package}.{module.name}"
        for value in vars(importlib.import_module(name)).values():
            if not inspect.isclass(value) or not issubclass(value, base) or inspect.isabstract(value):
                continue
            if value.__module__ != name:
                continue
            (key,) = get_args(value.model_fields[tag].annotation)
            if key in members:
                raise TypeError(f"{name}: {tag} {key!r} is already used by {members[key].__module__}")
            members[key] = value
    return members
