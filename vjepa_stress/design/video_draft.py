"""The design of a draft: names of building blocks, with everything that follows from other fields left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vjepa_stress.errors import BadDocument

DERIVED = ("datasets", "perturbations")
"""Fields of a document that follow from the cells of a draft."""

DEFAULTS: Mapping[str, Any] = {"frames": 16, "numerics": {"dtype": "float32", "compile": False}}


def complete_design(design: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Write out what the design of a draft leaves out.

    `models` lists the subjects from the smallest to the largest, and `controls` the controls. A block of cells
    without `model` has all models. Data sets and perturbations are those of the cells.

    Args:
        design: plain values, after expansion. A part of the wrong type is returned unchanged, to be refused later.
        where: the file, for error messages.

    Raises:
        BadDocument: for a field that follows from the cells, or a model that is listed twice.
    """
    for field in DERIVED:
        if field in design:
            raise BadDocument(
                f"`{field}` follows from the cells",
                where=f"{where}, design.{field}",
                found=design[field],
                fix=f"remove `{field}`, and list its names in `cells`",
            )
    subjects, controls = (list(_names(design.get(field))) for field in ("models", "controls"))
    names = [*subjects, *controls]
    if len(set(names)) < len(names):
        raise BadDocument(
            "a model is listed twice",
            where=f"{where}, design.models",
            expected="each model once, in `models` or in `controls`",
            found=", ".join(names),
            fix="remove one of the two",
        )
    roles = dict.fromkeys(subjects, "subject") | dict.fromkeys(controls, "control")
    models = {name: {"size_rank": rank, "role": roles[name]} for rank, name in enumerate(names, start=1)}
    blocks = design.get("cells")
    cells = [{"model": names, **block} if isinstance(block, Mapping) else block for block in _names(blocks)]
    completed = {**DEFAULTS, **{key: value for key, value in design.items() if key != "controls"}}
    if cells:
        completed["cells"] = cells
        listed = [block for block in cells if isinstance(block, Mapping)]
        for field, factor in zip(DERIVED, ("dataset", "perturbation"), strict=True):
            completed[field] = list(dict.fromkeys(name for block in listed for name in _names(block.get(factor))))
    if isinstance(design.get("models"), list | tuple):
        completed["models"] = models
    return completed


def _names(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
