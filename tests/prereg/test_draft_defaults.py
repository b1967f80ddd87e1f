"""What a draft leaves out is written out, and nothing that it states is changed."""

from typing import Any

import pytest

from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.draft_defaults import ANALYSIS, complete

CELLS = [
    {"dataset": ["rendered"], "perturbation": ["noise", "blur"], "strength": [0.5]},
    {"dataset": ["rendered", "filmed"], "perturbation": ["identity"], "model": ["small"]},
]
DESIGN: dict[str, Any] = {
    "models": ["small", "large"],
    "controls": ["twin"],
    "metrics": ["M2"],
    "cells": CELLS,
    "seed": 7,
}


def test_a_design_follows_from_its_cells_and_models() -> None:
    design = complete({"design": DESIGN}, "draft")["design"]
    assert design["datasets"] == ["rendered", "filmed"]
    assert design["perturbations"] == ["noise", "blur", "identity"]
    assert design["models"] == {
        "small": {"size_rank": 1, "role": "subject"},
        "large": {"size_rank": 2, "role": "subject"},
        "twin": {"size_rank": 3, "role": "control"},
    }
    assert [block["model"] for block in design["cells"]] == [["small", "large", "twin"], ["small"]]
    assert (design["frames"], design["numerics"]) == (16, {"dtype": "float32", "compile": False})
    assert "controls" not in design


def test_seeds_are_that_of_the_design() -> None:
    completed = complete({"design": DESIGN, "operating_characteristics": {"scenarios": {}}}, "draft")
    assert completed["analysis"] == {**ANALYSIS, "bootstrap_seed": 7}
    assert completed["operating_characteristics"] == {"studies": 2000, "resamples": 1000, "seed": 7, "scenarios": {}}
    assert "operating_characteristics" not in complete({"design": DESIGN}, "draft")


def test_what_is_stated_stays() -> None:
    stated = {"analysis": {"confidence_level": 0.99, "bootstrap_seed": 1}, "operating_characteristics": {"seed": 2}}
    completed = complete({"design": {**DESIGN, "frames": 8}, **stated}, "draft")
    assert completed["design"]["frames"] == 8
    assert completed["analysis"]["confidence_level"] == 0.99
    assert completed["analysis"]["bootstrap_seed"] == 1
    assert completed["operating_characteristics"]["seed"] == 2


@pytest.mark.parametrize("field", ["datasets", "perturbations"])
def test_a_field_that_follows_is_not_stated(field: str) -> None:
    with pytest.raises(BadDocument, match=f"`{field}` follows from the cells"):
        complete({"design": {**DESIGN, field: ["noise"]}}, "draft")


def test_a_model_is_listed_once() -> None:
    with pytest.raises(BadDocument, match="a model is listed twice"):
        complete({"design": {**DESIGN, "controls": ["small"]}}, "draft")


@pytest.mark.parametrize(
    "draft",
    [
        {},
        {"design": None},
        {"design": {"models": 3, "cells": "all"}},
        {"design": {}, "analysis": 1},
        {"analysis": None},
    ],
)
def test_a_part_of_the_wrong_type_is_left_to_be_refused(draft: dict[str, Any]) -> None:
    completed = complete(draft, "draft")
    for key, value in draft.items():
        if not isinstance(value, dict):
            assert completed[key] == value
