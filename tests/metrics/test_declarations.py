"""Metrics declare which columns are aligned twins, and the declaration holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vjepa_stress.design.video import MetricEntry
from vjepa_stress.errors import BadDocument
from vjepa_stress.interfaces import Observation
from vjepa_stress.prereg.schema import validate
from vjepa_stress.sweep.bind import Blocks
from vjepa_stress.sweep.draft import metric_entry


def observation(in_place: bool) -> Observation:
    """Features of a mirrored clip; mapped back they are those of the clean clip."""
    clean = torch.randn(2, 4, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    seen = clean.flip(3)
    return Observation(clean, seen, seen if in_place else clean, torch.ones(3, 5, dtype=torch.bool), in_place)


def test_the_twins_of_the_metrics_that_ship() -> None:
    assert {name: dict(Blocks().metric(name).aligned) for name in ("M1", "M2", "M3")} == {
        "M1": {"M1": "M1a"},
        "M2": {"M2": "M2a"},
        "M3": {},
    }


@pytest.mark.parametrize("name", ["M1", "M2"])
def test_twins_are_one_number_where_nothing_moves_and_only_the_aligned_one_undoes_a_motion(name: str) -> None:
    metric = Blocks().metric(name)
    for raw, twin in metric.aligned.items():
        still, moved = metric(observation(in_place=True)), metric(observation(in_place=False))
        assert torch.equal(still[raw].value, still[twin].value)
        assert float(moved[twin].value.abs().max()) < 1e-12
        assert float(moved[raw].value.min()) > 0.1


@pytest.mark.parametrize(
    "aligned", [{"M1": "other"}, {"other": "M1a"}, {"M1": "M1"}, {"M1": "M1a", "M1a": "M1"}, {"M1": ""}]
)
def test_a_document_refuses_twins_that_are_no_two_columns(aligned: dict[str, str]) -> None:
    entry: dict[str, Any] = metric_entry(Blocks().metric("M1"))
    read = validate(MetricEntry, entry, "M1")
    assert read.is_aligned("M1a")
    assert not read.is_aligned("M1")
    assert read.are_twins("M1", "M1a")
    assert read.are_twins("M1a", "M1")
    assert not read.are_twins("M1", "M1")
    with pytest.raises(BadDocument):
        validate(MetricEntry, entry | {"aligned": aligned}, "M1")
