"""Preregistrations and tables of shards, sketched for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vjepa_stress.design import Cell
from vjepa_stress.design.video import VideoCell
from vjepa_stress.digest import digest_of
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.verdict.table import Table

BLOCK = {"spec": {}, "spec_digest": digest_of({})}
PROBES = ("identity", "reverse", "hflip")
METRICS: dict[str, tuple[float, float]] = {"M1": (0, 2), "M2": (0, 2), "dM3": (-1, 1)}


def cells(
    datasets: Sequence[str], models: Sequence[str], perturbations: Sequence[str], strengths: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """All combinations; probes once."""
    return [
        {"dataset": dataset, "model": model, "perturbation": perturbation, "strength": strength, "seed": 0}
        for dataset, model, perturbation in product(datasets, models, perturbations)
        for strength in ([None] if perturbation in PROBES else strengths)
    ]


def design(
    chosen: list[dict[str, Any]],
    *,
    clips: Mapping[str, int],
    sources: Mapping[str, int] | None = None,
    controls: Sequence[str] = (),
    metrics: Mapping[str, tuple[float, float]] = METRICS,
) -> dict[str, Any]:
    """A design of these cells; models are ranked in the order they are met, and each clip is its own source."""
    counts = {name: {"n_clips": n, "n_sources": (sources or clips)[name]} for name, n in clips.items()}
    perturbations = {cell["perturbation"] for cell in chosen}
    models = list(dict.fromkeys(cell["model"] for cell in chosen))
    return {
        "kind": "video",
        "datasets": {name: {**BLOCK, "clip_manifest_digest": None, **of_name} for name, of_name in counts.items()},
        "models": {
            name: {
                **BLOCK,
                "weights_digest": None,
                "size_rank": rank,
                "role": "control" if name in controls else "subject",
                "untrained": name in controls,
                "positions": 8,
            }
            for rank, name in enumerate(models)
        },
        "perturbations": {
            name: {
                **BLOCK,
                "role": "probe" if name in PROBES else "tier1",
                "family": "calibration" if name == "identity" else "image-noise",
                "correspondence": "in-place",
            }
            for name in sorted(perturbations)
        },
        "metrics": {
            name: {**BLOCK, "range": span, "compares": "positions", "columns": (name,), "aligned": {}}
            for name, span in metrics.items()
        },
        "cells": sorted(chosen, key=lambda cell: VideoCell(cell).order()),
        "seed": 1,
        "frames": 16,
        "resolution": 32,
        "numerics": {"dtype": "float32", "compile": False},
    }


def video(chosen: Iterable[Cell]) -> tuple[VideoCell, ...]:
    """Cells of a table as those of a video design."""
    return tuple(VideoCell(cell) for cell in chosen)


def hypothesis(name: str, estimands: dict[str, Any], rule: dict[str, Any], family: str = "drift") -> dict[str, Any]:
    """A hypothesis without much to say."""
    prose = dict.fromkeys(("title", "claim", "rationale", "prediction"), "…")
    rule = explained(rule)
    return {"id": name, **prose, "estimands": estimands, "rule": rule, "family": family, "status": "active"}


def explained(rule: dict[str, Any]) -> dict[str, Any]:
    """The same rule with a rationale for every leaf that has none."""
    if not isinstance(rule, Mapping):
        return rule  # of a plugin
    if "of" in rule:
        return {**rule, "of": [explained(part) for part in rule["of"]]}
    return {"rationale": "…", **rule}


def threshold(estimand: str, confirm_at: float, refute_at: float, use: str = "interval") -> dict[str, Any]:
    """A threshold to be above."""
    numbers = {"confirm_at": confirm_at, "refute_at": refute_at}
    return {"kind": "threshold", "estimand": estimand, "direction": "above", "use": use, **numbers}


def reading(name: str, estimand: dict[str, Any]) -> dict[str, Any]:
    """A rule that can read an estimand."""
    if estimand["statistic"] == "jumps":
        return {"kind": "monotone", "estimand": name, "order": "falling", "smallest": 0.1, "tolerance": 0.05}
    if estimand["statistic"] == "trend":
        numbers = {"confirm_at": 0.9, "refute_at": 0.5, "smallest": 0.05}
        return {"kind": "trend", "estimand": name, "order": "rising", **numbers}
    return threshold(name, 0.5, 0.1)


def document(chosen: dict[str, Any], hypotheses: list[dict[str, Any]], **more: Any) -> Preregistration:
    """A whole preregistration."""
    analysis = {
        "confidence_level": 0.95,
        "bootstrap_resamples": 1000,
        "bootstrap_seed": 5,
        "multiplicity": "none",
        "within_hypothesis": "adjusted",
        "exclusions": [],
        "missing_data": "not-evaluable",
        "stopping": "fixed",
        **more.pop("analysis", {}),
    }
    return Preregistration.model_validate(
        {
            "schema": "vjepa-stress/prereg/v3",
            "study": "sketch",
            "version": "v1",
            "title": "A sketch",
            "authors": ["Nobody"],
            "created": "2026-01-01T00:00:00Z",
            "data_status": "before-creation",
            "parent": None,
            "design": chosen,
            "hypotheses": hypotheses,
            "analysis": analysis,
            **more,
        }
    )


def table(of: Preregistration, seed: int = 0) -> Table:
    """Random values in [0, 1) of every metric for every cell, with different clips for each data set.

    Clips are distributed evenly over the sources of their data set.
    """
    chance, design = np.random.default_rng(seed), of.design
    numbered = [(name, n) for name in design.strata(design.cells) for n in range(design.count_units(name))]
    clips = [f"{name}-{n:03}" for name, n in numbered]
    sources = [f"{name}-{n * design.count_sources(name) // design.count_units(name):03}" for name, n in numbered]
    owner = np.array([clip.rsplit("-", 1)[0] for clip in clips])
    present: NDArray[np.bool_] = owner[:, None] == np.array([design.stratum(cell) for cell in design.cells])
    values = {name: np.where(present, chance.uniform(size=present.shape), np.nan) for name in of.design.columns}
    values |= {f"{name}_n": np.where(present, chance.integers(0, 9, present.shape), np.nan) for name in values}
    return Table(of.design.cells, tuple(clips), values, present, tuple(sources))
