"""One list of a shard's columns, for writing, reading and filtering."""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa

from tests.verdict.sketch import cells, design
from vjepa_stress.columns import COUNTS, REGIONS, shard_columns
from vjepa_stress.design.video import VideoDesign
from vjepa_stress.interfaces import Measurement, RegionScores
from vjepa_stress.records import shard_schema

NAMES = ["clip", "M1", "M1_n", "M1_n_both_zero", "M1_n_one_zero", "M1_n_non_finite", "non_finite"]
LISTS = ["M1_objects", "M1_J", "M1_F"]


def test_a_metric_has_its_value_its_counts_and_its_lists_in_this_order() -> None:
    assert [one.name for one in shard_columns(["M1"])] == NAMES
    assert [one.name for one in shard_columns(["M1"], ["M1"])] == [*NAMES[:-1], *LISTS, NAMES[-1]]
    kinds = ["unit", "value", *["count"] * 4, "integers", "values", "values", "flag"]
    assert [one.kind for one in shard_columns(["M1"], ["M1"])] == kinds


def test_the_unit_has_the_name_that_the_design_gives_it() -> None:
    assert [one.name for one in shard_columns([], unit="prompt")] == ["prompt", "non_finite"]


def test_counts_and_lists_are_fields_of_what_a_metric_measures() -> None:
    assert {*COUNTS} < {field.name for field in fields(Measurement)}
    assert {*REGIONS} == {field.name for field in fields(RegionScores)}


def test_the_file_has_these_columns_and_only_values_and_lists_may_be_null() -> None:
    value = design(cells(["a"], ["m"], ["identity"]), clips={"a": 2}, metrics={"M1": (0, 2), "M2": (0, 2)})
    value["metrics"]["M2"]["compares"] = "regions"
    layout = VideoDesign.model_validate(value)
    schema = shard_schema(layout)
    columns = layout.layout
    assert columns == shard_columns(("M1", "M2"), ("M2",))
    assert schema.names == [one.name for one in columns]
    nullable = [one.name for one in columns if one.kind in {"value", "values", "integers"}]
    assert [field.name for field in schema if field.nullable] == nullable
    assert schema.field("M2_objects").type == pa.list_(pa.int64())
    assert schema.field("M2_J").type == schema.field("M2_F").type == pa.list_(pa.float64())


def test_filters_can_name_every_column_that_is_no_list() -> None:
    value = design(cells(["a"], ["m"], ["identity"]), clips={"a": 2}, metrics={"M1": (0, 2)})
    assert VideoDesign.model_validate(value).shard_columns == {*NAMES}
