"""Defaults of drafts. What a draft leaves out is written out before it is checked and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vjepa_stress.design.video_draft import complete_design

ANALYSIS: Mapping[str, Any] = {
    "confidence_level": 0.95,
    "bootstrap_resamples": 10_000,
    "multiplicity": "bonferroni",
    "within_hypothesis": "adjusted",
    "exclusions": [],
    "missing_data": "not-evaluable",
    "stopping": "fixed",
}
SIMULATION: Mapping[str, Any] = {"studies": 2000, "resamples": 1000}


def complete(draft: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Write out what a draft leaves out: design, analysis, and settings of the simulation.

    The seeds of the bootstrap and of the simulation are the seed of the design.

    Args:
        draft: plain values, after expansion. A part of the wrong type is returned unchanged, to be refused later.
        where: the file, for error messages.

    Raises:
        BadDocument: see `complete_design`.
    """
    completed = dict(draft)
    design = draft.get("design")
    seed = {}
    if isinstance(design, Mapping):
        completed["design"] = complete_design(design, where)
        seed = {"seed": design["seed"]} if "seed" in design else {}
    bootstrap = {f"bootstrap_{key}": value for key, value in seed.items()}
    analysis = draft.get("analysis", {})
    if isinstance(analysis, Mapping):
        completed["analysis"] = {**ANALYSIS, **bootstrap, **analysis}
    simulated = draft.get("operating_characteristics")
    if isinstance(simulated, Mapping):
        completed["operating_characteristics"] = {**SIMULATION, **seed, **simulated}
    return completed
