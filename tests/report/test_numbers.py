"""Rounding, in the only place that rounds."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from vjepa_stress.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "undefined"),
        (0.0, "0.000"),
        (0.12345, "0.123"),
        (-1.5, "-1.500"),
        (0.001, "0.001"),
        (0.0009996, "1.0e-3"),
        (-0.00012, "-1.2e-4"),
        (4.7e-17, "4.7e-17"),
        (9.8e-9, "9.8e-9"),
        (1e-300, "1.0e-300"),
        (1234.5678, "1234.568"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_three_decimals_or_two_digits_of_a_power(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


@pytest.mark.parametrize("value", [0.1, -2.5, 3e-7, -8.8e-12, 41.0])
def test_what_is_shown_is_near_what_is_meant(value: float) -> None:
    assert float(numbers.number(value)) == pytest.approx(value, abs=5e-4, rel=0.05)


def test_intervals_and_shares() -> None:
    assert numbers.interval(-0.25, 1e-5) == "[-0.250, 1.0e-5]"
    assert numbers.interval(None, 1.0) == numbers.interval(1.0, None) == "undefined"
    assert numbers.percent(0.95) == "95%"


def test_no_template_rounds() -> None:
    templates = sorted((Path(numbers.__file__).parent / "templates").iterdir())
    assert templates
    assert not [path.name for path in templates if re.search(r"\|\s*round|format\(|%\.", path.read_text())]
