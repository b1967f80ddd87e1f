"""Only the video design, what runs it and the video part of the report name its factors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import vjepa_stress
from vjepa_stress.design.video import VideoCell

PACKAGE = Path(vjepa_stress.__file__).parent
FACTORS = frozenset({"dataset", "model", "perturbation", "strength"})

VIDEO = (
    "blocks.py",
    "cli.py",
    "cli/",
    "columns.py",
    "data/",
    "design/video",
    "encoders/",
    "interfaces.py",
    "metrics/",
    "perturb/",
    "report/video",
    "sweep/",
    "training/",
)
"""What makes videos, and what says how they are measured."""

VIDEO_REPORT = (
    "report/figures.py",
    "report/scatter.py",
    "verdict/exclusions.py",
    "verdict/seed_spread.py",
    "verdict/partition.py",
)
"""The video part of the report."""


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Factors named as an attribute, a text, or an argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name: object = node.attr
        elif isinstance(node, ast.Constant):
            name = node.value
        elif isinstance(node, ast.keyword):
            name = node.arg
        else:
            continue
        if isinstance(name, str) and name in FACTORS:
            yield getattr(node, "lineno", 0), name


def test_the_scan_finds_factors() -> None:
    assert all(hasattr(VideoCell, name) for name in FACTORS)
    text = "cell.perturbation; cell['strength']; at(model=1); cell.perturbations; 'a model'; model_dump()"
    assert sorted(name for _, name in named(ast.parse(text))) == ["model", "perturbation", "strength"]
    for place in (*VIDEO_REPORT, "design/video.py"):
        path = PACKAGE / place
        assert not path.is_file() or any(named(ast.parse(path.read_text())))


def test_nothing_else_names_a_factor_of_video_designs() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if not place.startswith(VIDEO) and place not in VIDEO_REPORT:
            found += [f"{place}:{line} {name}" for line, name in named(ast.parse(path.read_text()))]
    assert not found, "\n".join(found)
