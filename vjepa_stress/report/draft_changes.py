"""Differences between a draft and a registration that can be found without loading building blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from vjepa_stress.design import VideoDesign
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.prereg.document import Acknowledged, Analysis, Hypothesis, Preregistration
from vjepa_stress.prereg.lineage import Change, differences, find, hypothesis_changes
from vjepa_stress.prereg.scenarios import Plan
from vjepa_stress.report.video_draft import design_changes, video_cell_changes

NOT_COMPARED = "the specifications of building blocks, weights and clips"
"""Parts that cannot be compared without loading the blocks. `run` compares them with the registration."""

_Draft = Mapping[str, Any]


def draft_changes(document: Preregistration, draft: _Draft) -> tuple[Change, ...]:
    """The differences between a registered document and a draft of the same study.

    Args:
        document: the registered document.
        draft: plain values, after expansion, with defaults (`vjepa_stress.prereg.draft_defaults`).

    Returns:
        One change for each difference; `before` is the registered value. Version, time, parent, amendment and
        `NOT_COMPARED` are not compared. An invalid part of the draft is one change of kind `invalid`.
    """
    changes: list[Change] = []
    for name, part in _PARTS.items():
        try:
            changes += part(document, draft)
        except (ValueError, TypeError, KeyError, AttributeError):
            changes.append(Change(path=name, kind="invalid"))
    return tuple(changes)


def _header(document: Preregistration, draft: _Draft) -> Iterator[Change]:
    registered = {"notes": document.notes, **document.model_dump(mode="json")}
    for field in ("study", "title", "authors", "data_status", "notes"):
        yield from differences(field, registered[field], draft.get(field))


def _design(document: Preregistration, draft: _Draft) -> Iterator[Change]:
    if isinstance(document.design, VideoDesign):
        yield from design_changes(document.design, draft["design"])


def _cells(document: Preregistration, draft: _Draft) -> Iterator[Change]:
    if isinstance(document.design, VideoDesign):
        yield from video_cell_changes(document.design, draft["design"]["cells"])


def _hypotheses(document: Preregistration, draft: _Draft) -> Iterator[Change]:
    drafted = [Hypothesis.model_validate({"status": "active", **one}) for one in draft["hypotheses"]]
    for hypothesis in drafted:
        old = find(document, hypothesis.id)
        yield from hypothesis_changes(old, hypothesis)
        if old is not None:
            if (old.status, hypothesis.status) == ("withdrawn", "active"):
                yield Change(path=old.id, kind="active-again")
            for name in old.withdrawn:
                if name in hypothesis.estimands and name not in hypothesis.withdrawn:
                    yield Change(path=f"{old.id}.{name}", kind="active-again")
    for old in document.hypotheses:
        if old.id not in {hypothesis.id for hypothesis in drafted}:
            yield Change(path=old.id, kind="not-there")


def _analysis(document: Preregistration, draft: _Draft) -> Iterator[Change]:
    registered = document.model_dump(mode="json")
    for field, kind in _ANALYSES.items():
        drafted = kind.dump_python(kind.validate_python(draft.get(field, [])), mode="json")
        yield from differences(field, registered.get(field, []), drafted)


def _scenarios(document: Preregistration, draft: _Draft) -> Iterator[Change]:
    field = "operating_characteristics"
    plan, registered = draft.get(field), document.operating_characteristics
    yield from differences(
        field,
        registered.plan.model_dump(mode="json") if registered else None,
        Plan.model_validate(plan).model_dump(mode="json") if plan else None,
    )


_ANALYSES: dict[str, TypeAdapter[Any]] = {
    "analysis": TypeAdapter(Analysis),
    "sensitivity": TypeAdapter(tuple[Alternative, ...]),
    "acknowledged": TypeAdapter(tuple[Acknowledged, ...]),
}
_PARTS: dict[str, Callable[[Preregistration, _Draft], Iterator[Change]]] = {
    "title, authors, data_status or notes": _header,
    "hypotheses": _hypotheses,
    "design": _design,
    "cells": _cells,
    "analysis, sensitivity or acknowledged": _analysis,
    "operating_characteristics": _scenarios,
}
