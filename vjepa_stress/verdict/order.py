"""The registered order of sources, which nobody can choose after the fact, and the first sources in it."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.design import Design
from vjepa_stress.digest import sha256
from vjepa_stress.verdict.table import Table


@functools.lru_cache(maxsize=64)
def source_rank(sources: tuple[str, ...], seed: int) -> NDArray[np.int64]:
    """Rank of the source of each unit, (units,), from 0, by the SHA-256 of `SEED SOURCE`.

    Args:
        sources: key of the source of each unit.
        seed: the registered seed of the analysis.
    """
    ordered = sorted(dict.fromkeys(sources), key=lambda source: sha256(f"{seed} {source}".encode()))
    number = {source: n for n, source in enumerate(ordered)}
    rank = np.array([number[source] for source in sources], dtype=np.int64)
    rank.setflags(write=False)
    return rank


def of_first_sources(table: Table, n: int, design: Design, seed: int) -> NDArray[np.bool_]:
    """Whether the source of each unit is among the first `n` of its stratum in the registered order, (units,)."""
    rank, stratum = source_rank(table.sources, seed), table.stratum(np.arange(len(table.cells)), design)
    kept = np.zeros(len(rank), dtype=bool)
    for number in np.unique(stratum):
        here = stratum == number
        kept |= here & np.isin(rank, np.unique(rank[here])[:n])
    return kept
