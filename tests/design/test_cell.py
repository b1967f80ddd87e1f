"""Cells, filters and video designs: what is equal, how it is written, what is selected, what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.verdict import sketch
from vjepa_stress.design import Cell, Condition, VideoDesign, Where
from vjepa_stress.design.video import VideoCell
from vjepa_stress.digest import canonical_json, parse_json
from vjepa_stress.fields import Level

CELL: TypeAdapter[Cell] = TypeAdapter(Cell)
LEVELS: Mapping[str, Level | None] = {"temperature": 0.5, "prompt": "terse", "strength": None}

levels = st.dictionaries(
    st.from_regex(r"[a-z]{1,5}", fullmatch=True),
    st.one_of(
        st.none(),
        st.floats(-1e6, 1e6),
        st.integers(-9, 9).map(float),
        st.text("abc √·1.", min_size=1, max_size=9),
    ),
    max_size=5,
)


@given(levels, st.randoms(use_true_random=False))
def test_cells_with_the_same_levels_are_equal(chosen: dict[str, Any], chance: Any) -> None:
    cell, names = Cell(chosen), list(chosen)
    chance.shuffle(names)
    other = Cell({name: chosen[name] for name in names})
    assert other == cell
    assert hash(other) == hash(cell)
    assert other.order() == cell.order()
    assert dict(cell) == chosen
    assert pickle.loads(pickle.dumps(cell)) == cell  # noqa: S301


@given(levels)
def test_a_cell_survives_its_canonical_json(chosen: dict[str, Any]) -> None:
    cell = Cell(chosen)
    data = canonical_json(CELL.dump_python(cell, mode="json"))
    assert CELL.validate_python(parse_json(data)) == cell
    assert CELL.validate_json(data) == cell


@given(st.lists(levels, max_size=8))
def test_the_order_is_one_of_all_cells(several: list[dict[str, Any]]) -> None:
    """Equal keys mean equal levels; the names of factors do not matter, as all cells of a design have the same."""
    filled = [Cell({name: chosen.get(name) for name in "ab"} | {"c": 1.0}) for chosen in several]
    for one in filled:
        for other in filled:
            assert (one.order() == other.order()) == (one == other)


def test_no_level_comes_before_numbers_and_numbers_before_names() -> None:
    some: list[Level | None] = ["b", 2.0, None, "a", 10.0, -1.0]
    ordered = sorted((Cell({"x": level}) for level in some), key=Cell.order)
    assert [cell["x"] for cell in ordered] == [None, -1.0, 2.0, 10.0, "a", "b"]


def test_a_cell_is_read_and_shown_by_its_levels() -> None:
    cell = Cell(LEVELS)
    assert list(cell) == ["prompt", "strength", "temperature"]
    assert list(VideoCell({"strength": 1.0, "dataset": "davis", "a": "b"})) == ["dataset", "strength", "a"]
    assert str(cell) == "terse · temperature 0.5"
    assert cell.without("temperature") == Cell({"prompt": "terse", "strength": None})
    assert cell != dict(LEVELS)
    assert Cell({**LEVELS, "strength": 0.0}) != cell
    for wrong in ({"x": True}, {"x": [1.0]}, {"x": ""}, {"1x": 1.0}, {"x": float("nan")}, {"x": "y" * 201}):
        with pytest.raises(ValidationError):
            CELL.validate_python(wrong)


WHERE = {"prompt": ["terse", "chatty"], "temperature": [0.5, 1]}


def test_a_filter_admits_every_combination_of_its_levels() -> None:
    where = Where.model_validate(WHERE)
    assert where.levels == {"prompt": ("terse", "chatty"), "temperature": (0.5, 1.0)}
    assert where.admits(Cell({"prompt": "chatty", "temperature": 1.0, "other": "x"}))
    assert not where.admits(Cell({"prompt": "chatty", "temperature": 0.0, "other": "x"}))
    assert not where.admits(Cell({"prompt": "chatty", "temperature": None}))
    assert Where().admits(Cell({"prompt": "chatty"}))
    with pytest.raises(KeyError):
        where.admits(Cell({"prompt": "chatty"}))


def test_filters_with_the_same_levels_are_equal_and_survive_json() -> None:
    where = Where.model_validate(WHERE)
    turned = Where.model_validate({"temperature": [0.5, 1], "prompt": ["terse", "chatty"]})
    assert turned == where
    assert Where.model_validate(parse_json(canonical_json(where.model_dump(mode="json")))) == where
    assert where.at("prompt", "mute") == Where.model_validate({**WHERE, "prompt": ["mute"]})
    assert where.at("seed", 2.0) == Where.model_validate({**WHERE, "seed": [2.0]})
    rows = Where.model_validate({**WHERE, "rows": [{"column": "words", "at_least": 3}]})
    assert rows != where
    assert rows.at("prompt", "mute").rows == (Condition(column="words", at_least=3),)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": []}, "prompt: name at least one level, or omit the factor"),
        ({"prompt": "terse"}, "tuple|list"),
        ({"prompt": [True]}, "string|number"),
        ({"1": ["terse"]}, "pattern|match"),
        ({"rows": []}, "at least 1"),
        ({"rows": [{"column": "x"}]}, "either `equals`, or `at_least` or `at_most`"),
        ({"rows": [{"column": "x", "equals": 1, "at_least": 1}]}, "either `equals`, or `at_least` or `at_most`"),
        ({"rows": [{"column": "x", "at_least": 2, "at_most": 1}]}, "x: `at_least` 2.0 is above `at_most` 1.0"),
    ],
)
def test_filters_that_are_none(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Where.model_validate(fields)


STRENGTHS = [0.2, 1.0]
CHOSEN = sketch.cells(["davis", "ssv2"], ["base", "twin"], ["noise", "reverse"], STRENGTHS)
SEEDS = [{**cell, "seed": 1} for cell in CHOSEN if cell["perturbation"] == "noise" and cell["dataset"] == "davis"]


def design(chosen: list[dict[str, Any]] | None = None, **changes: Any) -> VideoDesign:
    fields = sketch.design(
        CHOSEN + SEEDS if chosen is None else chosen, clips={"davis": 9, "ssv2": 9}, controls=["twin"]
    )
    return VideoDesign.model_validate({**fields, **changes})


def test_a_video_design_has_five_factors() -> None:
    assert design().factor_names == ("dataset", "model", "perturbation", "strength", "seed")
    assert [one.name for one in design().factors if one.numeric] == ["strength", "seed"]
    (cell,) = design().select(
        Where.model_validate(
            {"dataset": ["davis"], "model": ["base"], "perturbation": ["noise"], "strength": [1], "seed": [1]}
        )
    )
    assert isinstance(cell, VideoCell)
    assert (cell.dataset, cell.model, cell.perturbation, cell.strength, cell.seed) == (
        "davis",
        "base",
        "noise",
        1.0,
        1,
    )
    assert str(cell) == "davis · base · noise at 1, seed 1"
    (probe,) = design().select(Where.model_validate({"dataset": ["ssv2"], "perturbation": ["reverse"]}))
    assert (str(probe), probe["strength"]) == ("ssv2 · base · reverse", None)


def test_seeds_are_cells_of_their_own() -> None:
    assert len(design().cells) == len(CHOSEN) + len(SEEDS)
    assert {cell["seed"] for cell in design().cells} == {0.0, 1.0}
    first, second = (
        design().select(Where.model_validate({"perturbation": ["noise"], "dataset": ["davis"], "seed": [n]}))
        for n in (0, 1)
    )
    assert [cell.without("seed") for cell in first] == [cell.without("seed") for cell in second]
    assert design().config_digest(first[0]) != design().config_digest(second[0])
    assert design().strata([*first, *second]) == ("davis",)


def test_models_left_open_are_subjects() -> None:
    assert {cell["model"] for cell in design().select(Where())} == {"base"}
    assert {cell["model"] for cell in design().select(Where.model_validate({"model": ["twin"]}))} == {"twin"}
    assert design().controls == ("twin",)


def test_cells_are_selected_in_the_order_of_the_design() -> None:
    where = Where.model_validate({"model": ["twin", "base"], "perturbation": ["reverse", "noise"]})
    assert design().select(where) == design().cells
    assert list(design().cells) == sorted(design().cells, key=Cell.order)


def test_a_video_design_survives_its_canonical_json() -> None:
    data = canonical_json(design().model_dump(mode="json"))
    again = VideoDesign.model_validate(parse_json(data))
    assert again == design()
    assert canonical_json(again.model_dump(mode="json")) == data


def changed(**levels: Any) -> list[dict[str, Any]]:
    """One cell, with other levels."""
    return [{"dataset": "davis", "model": "base", "perturbation": "noise", "strength": 0.2, "seed": 0, **levels}]


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        (changed(dataset="films"), "unknown data set 'films'; the design has"),
        (changed(model="huge"), "unknown model 'huge'; the design has"),
        (changed(perturbation="fog"), "unknown perturbation 'fog'; the design has"),
        (changed(strength=None), "probes have no strength, all other perturbations need one"),
        (changed(perturbation="reverse"), "probes have no strength, all other perturbations need one"),
        (changed(strength=0.0), r"the strength must be in \(0, 1\]"),
        (changed(strength=1.5), r"the strength must be in \(0, 1\]"),
        (changed(seed=-1), "the seed must be an index"),
        (changed(seed=0.5), "the seed must be an index"),
        (changed(seed=None), "the seed must be an index"),
        (changed(seed="one"), "the seed must be an index"),
        (changed(colour="red"), "a video cell has the factors dataset, model, perturbation, strength, seed"),
        ([{"dataset": "davis", "model": "base"}], "a video cell has the factors"),
        (changed() + changed(), "without duplicates"),
        (changed(strength=1.0) + changed(), "cells must be sorted"),
        ([], "at least 1"),
    ],
)
def test_cells_that_no_video_design_has(cells: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        design(cells=cells)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({"prompt": ["terse"]}, r"H1.x: unknown factor 'prompt'; a video design has \['dataset', 'model', 'pert"),
        ({"perturbation": ["fog"]}, "H1.x: the filter selects no cell of the design"),
        ({"dataset": ["ssv2"], "seed": [1]}, "H1.x: the filter selects no cell of the design"),
        ({"perturbation": ["noise", "fog"]}, "H1.x: perturbation 'fog' selects no cell of the design"),
        ({"strength": [0.2, 0.3]}, r"H1.x: strength 0.3 selects no cell of the design"),
        ({"dataset": ["davis", "ssv2"], "seed": [1]}, "H1.x: dataset 'ssv2' selects no cell of the design"),
        ({"rows": [{"column": "M9", "at_least": 0}]}, r"H1.x: unknown column 'M9'; shards have \["),
        ({"rows": [{"column": "clip", "equals": 1}]}, "H1.x: only `clip` can equal a string"),
        ({"rows": [{"column": "M2", "equals": "a"}]}, "H1.x: only `clip` can equal a string"),
    ],
)
def test_filters_that_a_design_refuses(where: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        design().check_filter(Where.model_validate(where), "H1.x")


def test_filters_that_a_design_takes() -> None:
    for where in ({}, {"model": ["twin"]}, {"strength": [0.2, 1]}, {"rows": [{"column": "M2_n", "at_least": 1}]}):
        design().check_filter(Where.model_validate(where), "H1.x")
