"""The order of data statuses; what the ledger rules out is tested with amendments."""

from __future__ import annotations

from itertools import product

import pytest

from vjepa_stress.prereg.data_status import ORDER, latest


def test_statuses_run_from_knowing_nothing_to_knowing_the_results() -> None:
    assert ORDER[0] == "before-creation"
    assert ORDER[-1] == "after-analysis"
    assert len(set(ORDER)) == 5


@pytest.mark.parametrize(("first", "second"), list(product(range(5), repeat=2)))
def test_the_latest_admits_the_most_knowledge(first: int, second: int) -> None:
    assert latest(ORDER[first], ORDER[second]) == ORDER[max(first, second)]
    assert latest(ORDER[first]) == ORDER[first]
