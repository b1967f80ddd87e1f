"""Types of fields: what they take and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from vjepa_stress.fields import Finite, Frozen, Name, Seed, Text, Time, Version

TAKEN: list[tuple[Any, list[Any]]] = [
    (Name, ["a", "H1", "gaussian_noise", "M2", "A" * 64]),
    (Text, ["a", " "]),
    (Finite, [0.0, -1.5, 1e308, 3]),
    (Seed, [0, 1, 2**53 - 1]),
    (Version, ["v1", "v10", "v9999"]),
    (Time, ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123+02:00", "2026-12-31T23:59:59-11:30"]),
]
REFUSED: list[tuple[Any, list[Any]]] = [
    (Name, ["", "1a", "_a", "a-b", "a b", "a\n", "\u00e4", "A" * 65]),
    (Text, [""]),
    (Finite, [math.nan, math.inf, -math.inf]),
    (Seed, [-1, 2**53]),
    (Version, ["v0", "v01", "v", "1", "V1", "v1\n", "v10000"]),
    (Time, ["2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00Z\n"]),
]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in TAKEN for value in values])
def test_what_is_taken_is_kept_as_it_is(kind: Any, value: object) -> None:
    assert TypeAdapter(kind).validate_python(value) == value


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in REFUSED for value in values])
def test_what_is_refused(kind: Any, value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


class Point(Frozen):
    x: int


def test_frozen_models_are_immutable_and_closed() -> None:
    point = Point(x=1)
    with pytest.raises(ValidationError, match="frozen"):
        point.x = 2
    with pytest.raises(ValidationError, match="Extra inputs"):
        Point.model_validate({"x": 1, "y": 2})
    assert point == Point(x=1)
    assert hash(point) == hash(Point(x=1))
