"""The building blocks that configuration folders name, read from their files alone. Imports no torch and no Hydra."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GROUPS = ("model", "data", "perturbation", "metric")


@dataclass(frozen=True)
class Listed:
    """A named building block.

    Attributes:
        name: of its YAML file.
        about: what it is, in a sentence: the file's first comment, else the class's.
        path: of the file.
    """

    name: str
    about: str
    path: Path


def names(group: str, folders: Sequence[Path]) -> list[str]:
    """Names of a group's blocks, sorted."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def listed(group: str, folders: Sequence[Path]) -> list[Listed]:
    """A group's blocks by name; of two with one name, the earlier folder's counts, as when it is used."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return [Listed(name, _about(path.read_text(encoding="utf-8")), path) for name, path in sorted(found.items())]


def _about(text: str) -> str:
    lines = text.splitlines()
    comment: list[str] = []
    for line in lines:
        if not line.startswith("#") or (comment and re.match(r"# \w+:  ", line)):
            break
        comment.append(line.removeprefix("#").strip())
    target = re.search(r"^_target_:\s*([\w.]+)\s*$", text, re.MULTILINE)
    return _sentence(" ".join(comment)) or (_docstring(target[1]) if target else "")


def _sentence(text: str) -> str:
    """The first sentence of a text, without its full stop; a version such as 2.1 does not end one."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0].strip()


def _docstring(target: str) -> str:
    """First sentence of a class's docstring, read from its source; importing it could import torch."""
    module, _, name = target.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _sentence(" ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()))
    return ""
