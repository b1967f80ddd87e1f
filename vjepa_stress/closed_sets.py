"""Closed sets of classes: one file a member, found by listing the folder of a package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from typing import TypeVar, get_args

from pydantic import BaseModel

Member = TypeVar("Member", bound=BaseModel)


def find_members(package: str, folders: Iterable[str], base: type[Member], tag: str) -> dict[str, type[Member]]:
    """The concrete subclasses of `base` that the modules of a package define, by the literal of their field `tag`.

    Modules named `base…` and subpackages are not searched.

    Raises:
        TypeError: when two classes have the same tag.
    """
    found: dict[str, type[Member]] = {}
    for module in sorted(pkgutil.iter_modules(folders), key=lambda one: one.name):
        if module.ispkg or module.name.startswith("base"):
            continue
        name = f"{package}.{module.name}"
        for value in vars(importlib.import_module(name)).values():
            if not inspect.isclass(value) or not issubclass(value, base) or inspect.isabstract(value):
                continue
            if value.__module__ != name:
                continue
            (key,) = get_args(value.model_fields[tag].annotation)
            if key in found:
                raise TypeError(f"{name}: {tag} {key!r} is taken by {found[key].__module__}")
            found[key] = value
    return found
