"""What a report expects of the probes of a video design."""

from __future__ import annotations

import pytest

from tests.verdict import sketch
from vjepa_stress.design.video import VideoDesign
from vjepa_stress.report.video import _expected


@pytest.mark.parametrize(
    ("positions", "expected"), [(8, "1.143 = 8/7 for"), (4, "1.333 = 4/3 for"), (5, "0.750 for"), (3, "0.500 for")]
)
def test_what_reversal_gives_depends_on_the_temporal_positions_of_the_model(positions: int, expected: str) -> None:
    value = sketch.design(sketch.cells(["a"], ["m"], ["reverse", "identity"]), clips={"a": 2})
    value["models"]["m"]["positions"] = positions
    value["perturbations"]["reverse"]["correspondence"] = "time-reversed"
    value["metrics"]["M2"] |= {"columns": ["M2", "back"], "aligned": {"M2": "back"}}
    design = VideoDesign.model_validate(value)
    reverse = next(cell for cell in design.cells if cell.perturbation == "reverse")
    assert _expected(design, reverse, "M2").startswith(expected)
    assert _expected(design, reverse, "back").startswith("0 if features move")
    identity = next(cell for cell in design.cells if cell.perturbation == "identity")
    assert _expected(design, identity, "M2") == "0 (the noise floor)"
