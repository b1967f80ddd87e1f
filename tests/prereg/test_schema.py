"""Validation by pydantic and by the JSON Schema: every mistake at once, with the path to it."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field, model_validator

from vjepa_stress.errors import BadDocument
from vjepa_stress.fields import Frozen, Name
from vjepa_stress.prereg.schema import json_schema, validate


class Part(Frozen):
    name: Name
    share: float = Field(ge=0, le=1)


class Recipe(Frozen):
    schema_: str = Field(alias="schema", pattern="^recipe/v1$")
    parts: tuple[Part, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _adds_up(self) -> Recipe:
        if sum(part.share for part in self.parts) > 1:
            raise ValueError("the shares add up to more than 1")
        return self


def recipe(*shares: Any) -> dict[str, Any]:
    return {"schema": "recipe/v1", "parts": [{"name": f"p{i}", "share": share} for i, share in enumerate(shares)]}


def mistakes(value: Any) -> str:
    with pytest.raises(BadDocument) as error:
        validate(Recipe, value, "recipe.json")
    assert error.value.where == "recipe.json"
    return str(error.value.found)


def test_a_valid_document_is_returned() -> None:
    found = validate(Recipe, recipe(0.25, 0.5), "recipe.json")
    assert [(part.name, part.share) for part in found.parts] == [("p0", 0.25), ("p1", 0.5)]


def test_all_mistakes_are_named_with_their_paths() -> None:
    found = mistakes({**recipe(0.5, 2.0), "colour": "red"} | {"schema": "recipe/v2"})
    assert len(found.strip().splitlines()) == 3
    assert "colour: unknown field" in found
    assert "schema: " in found
    assert "parts.1.share: " in found


def test_what_holds_between_fields_is_said_in_its_own_words() -> None:
    assert mistakes(recipe(0.75, 0.5)).strip() == "document: the shares add up to more than 1"


@pytest.mark.parametrize("value", [None, [], "text", 3, {}, recipe()])
def test_what_is_no_such_document_at_all(value: Any) -> None:
    assert mistakes(value)


def test_what_pydantic_converts_and_json_schema_does_not_is_refused() -> None:
    assert Recipe.model_validate(recipe("0.5")).parts[0].share == 0.5
    assert "$.parts[0].share" in mistakes(recipe("0.5"))


def test_the_json_schema_is_one_that_others_can_use() -> None:
    schema = json_schema(Recipe)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    outsider = Draft202012Validator(schema)
    assert outsider.is_valid(recipe(0.25))
    assert not outsider.is_valid(recipe(2.0))
    assert not outsider.is_valid({**recipe(0.25), "colour": "red"})
