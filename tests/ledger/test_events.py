"""Events: the bytes of a line are read as the same event, and nothing else is an event."""

import json

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from vjepa_stress.digest import canonical_json, sha256
from vjepa_stress.ledger import (
    Amended,
    Completed,
    DocumentLeaf,
    Execution,
    Explored,
    Failed,
    Launched,
    Leaf,
    Registered,
    Revision,
    Viewed,
    Withdrawn,
)
from vjepa_stress.ledger.events import EVENT, json_schema

ONE, OTHER = sha256(b"one"), sha256(b"other")
PLACE = {"seq": 3, "at": "2026-11-24T01:02:03.456Z", "study": "small", "document": ONE, "prev_root": OTHER}
PROMISED = {"version": "v1", "data_status": "before-creation", "hypotheses": ["H1", "H2"]}
REVISED = {**PROMISED, "version": "v2", "parent": OTHER, "reason": "unforeseen-event", "changed": ["H1 withdrawn"]}
EXECUTED = {
    "cells": ["small-tiny-reverse-none-0-0123456789ab"],
    "code": ONE,
    "dirty": False,
    "commit": None,
    "identities": {"weights": {"tiny": ONE}, "clips": {"small": OTHER}},
    "specs": {"small": ONE},
}
EVENTS: list[Leaf] = [
    Registered.model_validate({**PLACE, **PROMISED}),
    Amended.model_validate({**PLACE, **REVISED}),
    Withdrawn.model_validate({**PLACE, **REVISED}),
    Launched.model_validate({**PLACE, **EXECUTED, "attempt": 1, "deviation": "a faster loader"}),
    Explored.model_validate({**PLACE, **EXECUTED, "commit": "abc"}),
    Completed.model_validate({**PLACE, "attempt": 1, "root": ONE, "cells": 16}),
    Failed.model_validate({**PLACE, "attempt": 2, "cells": ["a", "b"], "messages": ["a: no\nmemory"]}),
    Viewed.model_validate({**PLACE, "look": "report", "files": {"report.html": ONE}, "exploratory": True}),
]
each_event = pytest.mark.parametrize("leaf", EVENTS, ids=lambda leaf: leaf.event)


@each_event
def test_a_line_is_read_as_the_event_it_was_written_from(leaf: Leaf) -> None:
    line = leaf.to_bytes()
    value = json.loads(line)
    assert canonical_json(value) == line
    assert value["event"] == type(leaf).__name__.lower()
    read = EVENT.validate_python(value)
    assert (type(read), read) == (type(leaf), leaf)
    Draft202012Validator(json_schema()).validate(value)


@each_event
def test_every_field_is_needed_and_no_other_is_known(leaf: Leaf) -> None:
    value, schema = json.loads(leaf.to_bytes()), Draft202012Validator(json_schema())
    for name in value:
        cut = {key: one for key, one in value.items() if key != name}
        assert not schema.is_valid(cut), name
        try:
            read = EVENT.validate_python(cut)
        except ValidationError:
            continue
        assert read.to_bytes() != canonical_json(cut), f"the line without {name} would be taken for canonical"
    others: list[dict[str, object]] = [{"details": {}}, {"exploratory_": True}]
    for more in others:
        assert not schema.is_valid(value | more)
        with pytest.raises(ValidationError):
            EVENT.validate_python(value | more)


@pytest.mark.parametrize(
    ("leaf", "change"),
    [
        (EVENTS[0], {"version": "1"}),
        (EVENTS[0], {"data_status": "later"}),
        (EVENTS[0], {"study": "../small"}),
        (EVENTS[0], {"seq": -1}),
        (EVENTS[0], {"at": "yesterday"}),
        (EVENTS[0], {"prev_root": "0" * 64}),
        (EVENTS[1], {"parent": None}),
        (EVENTS[1], {"reason": "regret"}),
        (EVENTS[3], {"attempt": 0}),
        (EVENTS[3], {"identities": {"weights": ONE}}),
        (EVENTS[3], {"event": "explored"}),
        (EVENTS[5], {"cells": []}),
        (EVENTS[7], {"look": "glance"}),
        (EVENTS[7], {"event": "signed"}),
    ],
)
def test_values_that_no_event_has(leaf: Leaf, change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EVENT.validate_python(json.loads(leaf.to_bytes()) | change)


def test_kinds_of_events() -> None:
    def events(kind: type[Leaf]) -> list[str]:
        return [leaf.event for leaf in EVENTS if isinstance(leaf, kind)]

    assert events(DocumentLeaf) == ["registered", "amended", "withdrawn"]
    assert events(Revision) == ["amended", "withdrawn"]
    assert events(Execution) == ["launched", "explored"]


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        EVENTS[0].seq = 4


def test_identities_of_a_kind() -> None:
    launched = EVENTS[3]
    assert isinstance(launched, Launched)
    assert launched.bound("weights") == {"tiny": ONE}
    assert launched.bound("prompts") == {}
