"""What a draft says differently from a registration, as far as it can be told without its building blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vjepa_stress.prereg.document import Acknowledged, Analysis, Cell, Hypothesis, Preregistration, Sensitivity
from vjepa_stress.prereg.lineage import cell_changes, differences, find, hypothesis_changes
from vjepa_stress.prereg.scenarios import Plan

NOT_COMPARED = "the specifications of building blocks, weights and clips"
"""What cannot be compared without loading the blocks; `run` compares them with the registration."""

_Draft = Mapping[str, Any]


def draft_changes(document: Preregistration, draft: _Draft) -> tuple[str, ...]:
    """What differs between a registered document and a draft of the same study, the registered value first.

    Args:
        document: the registration.
        draft: plain values with every template expanded (`vjepa_stress.prereg.drafts.expand`).

    Returns:
        One line for each difference. Version, time, parent and amendment are not compared, nor is `NOT_COMPARED`. A
        part of the draft that does not validate is one line that says so.
    """
    found: list[str] = []
    for name, part in _PARTS.items():
        try:
            found += part(document, draft)
        except (ValidationError, TypeError, KeyError, AttributeError):
            found.append(f"{name}: not valid in the draft")
    return tuple(found)


def _header(document: Preregistration, draft: _Draft) -> Iterator[str]:
    registered = {"notes": document.notes, **document.model_dump(mode="json")}
    for field in ("study", "title", "authors", "data_status", "notes"):
        yield from differences(field, registered[field], draft.get(field))


def _design(document: Preregistration, draft: _Draft) -> Iterator[str]:
    design, drafted = document.design, draft["design"]
    for field in ("datasets", "perturbations", "metrics"):
        yield from differences(f"design.{field}", sorted(getattr(design, field)), sorted(drafted[field]))
    ranks = {name: {"size_rank": model.size_rank, "role": model.role} for name, model in design.models.items()}
    models = {name: {"role": "subject", **model} for name, model in drafted["models"].items()}
    yield from differences("design.models", ranks, models)
    for field in ("seed", "frames", "resolution"):
        yield from differences(f"design.{field}", getattr(design, field), drafted[field])
    yield from differences("design.numerics", design.numerics.model_dump(mode="json"), drafted["numerics"])


def _cells(document: Preregistration, draft: _Draft) -> Iterator[str]:
    cells = []
    for block in draft["design"]["cells"]:
        for dataset, model, name in product(block["dataset"], block["model"], block["perturbation"]):
            known = document.design.perturbations.get(name)
            probe = "strength" not in block if known is None else known.role == "probe"
            for strength in (None,) if probe else block["strength"]:
                cells.append(Cell(dataset=dataset, model=model, perturbation=name, strength=strength))
    yield from cell_changes(document.design.cells, cells)


def _hypotheses(document: Preregistration, draft: _Draft) -> Iterator[str]:
    drafted = [Hypothesis.model_validate({"status": "active", **one}) for one in draft["hypotheses"]]
    for hypothesis in drafted:
        old = find(document, hypothesis.id)
        yield from hypothesis_changes(old, hypothesis)
        if old is not None:
            if (old.status, hypothesis.status) == ("withdrawn", "active"):
                yield f"{old.id}: withdrawn in the registration, active in the draft"
            for name in old.withdrawn:
                if name in hypothesis.estimands and name not in hypothesis.withdrawn:
                    yield f"{old.id}.{name}: withdrawn in the registration, active in the draft"
    for old in document.hypotheses:
        if old.id not in {hypothesis.id for hypothesis in drafted}:
            yield f"{old.id} is not in the draft"


def _analysis(document: Preregistration, draft: _Draft) -> Iterator[str]:
    registered = document.model_dump(mode="json")
    for field, kind in _ANALYSES.items():
        drafted = kind.dump_python(kind.validate_python(draft.get(field, [])), mode="json")
        yield from differences(field, registered.get(field, []), drafted)


def _scenarios(document: Preregistration, draft: _Draft) -> Iterator[str]:
    field = "operating_characteristics"
    plan, registered = draft.get(field), document.operating_characteristics
    yield from differences(
        field,
        registered.model_dump(mode="json", exclude={"chances"}) if registered else None,
        Plan.model_validate(plan).model_dump(mode="json") if plan else None,
    )


_ANALYSES: dict[str, TypeAdapter[Any]] = {
    "analysis": TypeAdapter(Analysis),
    "sensitivity": TypeAdapter(tuple[Sensitivity, ...]),
    "acknowledged": TypeAdapter(tuple[Acknowledged, ...]),
}
_PARTS: dict[str, Callable[[Preregistration, _Draft], Iterator[str]]] = {
    "title, authors, data_status or notes": _header,
    "hypotheses": _hypotheses,
    "design": _design,
    "cells": _cells,
    "analysis, sensitivity or acknowledged": _analysis,
    "operating_characteristics": _scenarios,
}
