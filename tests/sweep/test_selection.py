"""Which registered cells a command line selects, and what it says of those that are not registered."""

import pytest

from tests.verdict import sketch
from vjepa_stress.design import Where
from vjepa_stress.design.video import VideoDesign
from vjepa_stress.errors import OutsideDesign
from vjepa_stress.sweep.selection import CellFilter, select


@pytest.fixture
def design() -> VideoDesign:
    cells = sketch.cells(["near", "far"], ["small", "large"], ["noise", "identity"], [0.5, 1.0])
    cells += sketch.cells(["near"], ["small", "large"], ["blur"], [0.2])
    cells = [cell for cell in cells if (cell["dataset"], cell["model"]) != ("far", "large")]
    return VideoDesign.model_validate(sketch.design(cells, clips={"near": 3, "far": 3}))


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"model": ("small",)},
        {"dataset": ("near",), "strength": (0.2, 1.0)},
        {"dataset": ("near", "far"), "model": ("small", "large"), "perturbation": ("identity",)},
    ],
)
def test_it_selects_what_a_filter_of_the_design_selects(
    design: VideoDesign, asked: dict[str, tuple[str, ...]]
) -> None:
    assert select(design, CellFilter(**asked)) == design.select(Where(**asked))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "what", "expected", "found"),
    [
        (
            {"model": ("small", "lage")},
            "model lage is not in the registered design",
            "large, small",
            "lage; did you mean large?",
        ),
        ({"strength": (0.7,)}, "strength 0.7 is not", "none, 0.2, 0.5, 1", "0.7"),
        (
            {"dataset": ("far",), "model": ("large",), "perturbation": ("noise",)},
            "no registered cell has dataset far together with model large",
            "with dataset far: model small",
            "model large",
        ),
        (
            {"dataset": ("near", "far"), "model": ("small",), "strength": (0.2,)},
            "no registered cell has dataset far together with strength 0.2",
            "with dataset far: strength none, 0.5, 1",
            "strength 0.2",
        ),
        (
            {"perturbation": ("noise", "identity"), "strength": (0.5,)},
            "no registered cell has perturbation identity together with strength 0.5",
            "with perturbation identity: strength none",
            "strength 0.5",
        ),
    ],
)
def test_it_names_the_level_that_does_not_fit(
    design: VideoDesign, asked: dict[str, tuple[str, ...]], what: str, expected: str, found: str
) -> None:
    with pytest.raises(OutsideDesign) as caught:
        select(design, CellFilter(**asked))  # type: ignore[arg-type]
    assert what in caught.value.what
    assert caught.value.expected == expected
    assert found in str(caught.value.found)


def test_it_names_three_levels_where_two_are_not_enough() -> None:
    chosen = [("near", "small", 0.5), ("near", "large", 1.0), ("far", "small", 1.0)]
    cells = [
        {"dataset": dataset, "model": model, "perturbation": "noise", "strength": strength, "seed": 0.0}
        for dataset, model, strength in chosen
    ]
    design = VideoDesign.model_validate(sketch.design(cells, clips={"near": 3, "far": 3}))
    with pytest.raises(OutsideDesign) as caught:
        select(design, CellFilter(dataset=("near",), model=("small",), strength=(1.0,)))
    assert caught.value.what == "no registered cell has dataset near together with model small and strength 1"
