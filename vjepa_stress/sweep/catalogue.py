"""Names and descriptions of building blocks, read from their YAML files. Imports neither torch nor Hydra."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GROUPS = ("model", "data", "perturbation", "metric")


@dataclass(frozen=True)
class CatalogueEntry:
    """A building block in a list.

    Attributes:
        name: name of its YAML file, without the suffix.
        about: one sentence: of the file's first comment or, without one, of the class's docstring.
        path: path of the file.
    """

    name: str
    about: str
    path: Path


def names(group: str, folders: Sequence[Path]) -> list[str]:
    """Names of the blocks of a group, sorted."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def entries(group: str, folders: Sequence[Path]) -> list[CatalogueEntry]:
    """The blocks of a group, sorted by name. If a name occurs twice, the earlier folder wins, as in `Blocks.path`."""
    paths: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            paths.setdefault(path.stem, path)
    return [
        CatalogueEntry(name, _about(path.read_text(encoding="utf-8")), path) for name, path in sorted(paths.items())
    ]


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
    """The first sentence of a text, without its full stop. The dot in a number such as 2.1 does not end it."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0].strip()


def _docstring(target: str) -> str:
    """First sentence of a class's docstring, read from the source: an import could load torch."""
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
