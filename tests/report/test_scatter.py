"""The scatter of the partition finding: thinning by rank, panels, the same bytes each time."""

from __future__ import annotations

import numpy as np
import pytest

from vjepa_stress.report.scatter import MOST, scatter, thinned
from vjepa_stress.verdict.partition import Cloud, Partition


def cloud(points: int, model: str, seed: int = 0, control: bool = False) -> Cloud:
    pairs = np.random.default_rng(seed).normal(size=(points, 2)).tolist()
    return Cloud("noise", model, control, tuple(sorted((x, y) for x, y in pairs)))


@pytest.mark.parametrize("points", [(1500, 2500), (3000, 6000, 1)])
def test_many_points_are_thinned_by_rank(points: tuple[int, ...]) -> None:
    clouds = tuple(cloud(n, f"model{place}") for place, n in enumerate(points))
    figure = scatter(Partition(("davis",), (), (), (), clouds))
    assert figure == scatter(Partition(("davis",), (), (), (), clouds))
    assert MOST <= figure.count("<use ") < MOST + 200  # letters and ticks are a few more
    shown = [thinned(one, sum(points)) for one in clouds]
    assert sum(map(len, shown)) == MOST
    for one, kept in zip(clouds, shown, strict=True):
        places = [one.pairs.index(pair) for pair in kept]
        assert (places[0], places[-1]) == (0, len(one.pairs) - 1)
        assert set(np.diff(places)) <= {1, 2, 3}


@pytest.mark.parametrize("points", [1, 2, 100])
def test_few_points_are_all_drawn(points: int) -> None:
    one = cloud(points, "tiny")
    assert thinned(one, points) == thinned(one, MOST) == one.pairs


def test_a_cloud_keeps_a_point_among_very_many() -> None:
    one = cloud(3, "tiny")
    assert thinned(one, 10**9) == one.pairs[:1]


def test_controls_have_a_row_of_their_own() -> None:
    subjects, both = (cloud(5, "tiny"),), (cloud(5, "tiny"), cloud(5, "wide", control=True))
    panels = [scatter(Partition(("davis",), (), (), (), clouds)).count('id="axes_') for clouds in (subjects, both)]
    assert panels == [1, 2]
