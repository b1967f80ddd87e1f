"""A study of the size of the published one: 322 cells, H1 to H6, and three scenarios."""

from __future__ import annotations

from typing import Any

from tests.verdict import sketch
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import Plan

MODELS = ["base", "large", "giant", "gigantic"]
TIER1 = ["gaussian_noise", "motion_blur", "low_light", "frame_drops", "occlusion"]
TEN = [n / 10 for n in range(1, 11)]
FIVE = TEN[1::2]

TREND = {"kind": "trend", "order": "rising", "confirm_at": 0.9, "refute_at": 0.5, "smallest": 0.05}


def where(dataset: str = "ssv2", **more: Any) -> dict[str, Any]:
    """A filter; a single name stands for a list of one name."""
    return {
        "dataset": [dataset],
        **{key: value if isinstance(value, list) else [value] for key, value in more.items()},
    }


def _mean(metric: str, **more: Any) -> dict[str, Any]:
    return {"statistic": "mean", "metric": metric, "where": where(**more)}


def _count(rules: list[dict[str, Any]], confirm: int, refute: int) -> dict[str, Any]:
    return {"kind": "count", "of": rules, "confirm_at_least": confirm, "refute_at_least": refute}


def _hypotheses() -> list[dict[str, Any]]:
    floor = {"statistic": "maximum", "metric": "M2", "where": {"perturbation": ["identity"]}}
    gate = {"kind": "threshold", "estimand": "floor", "direction": "below", "use": "point"}
    h1 = {
        f"{perturbation}_{model}": {
            "statistic": "trend",
            "metric": "M2",
            "along": "strength",
            "where": where(perturbation=perturbation, model=model),
        }
        for perturbation in TIER1
        for model in MODELS
    }
    h2 = {model: _mean("M2", perturbation="reverse", model=model) for model in MODELS}
    h2_m1 = {f"M1_{model}": _mean("M1", perturbation="reverse", model=model) for model in MODELS}
    h4 = {
        name: {
            "statistic": "jumps",
            "metric": "M2",
            "along": "model",
            "levels": MODELS,
            "interval": "pooled",
            "where": where(perturbation=name),
        }
        for name in TIER1
    }
    sides = ({"perturbation": "gaussian_noise"}, {"perturbation": "frame_drops"})
    h5: dict[str, Any] = {
        "ratio": {
            "statistic": "ratio_of_means",
            "metric": "M2",
            **{
                key: where(**side, strength=0.5)
                for key, side in zip(("numerator", "denominator"), sides, strict=True)
            },
        }
    }
    above = {"direction": "above", "confirm_at": 0.0, "refute_at": 0.0, "use": "point", "kind": "threshold"}
    every = []
    for strength in TEN:
        names = [f"{model}_{round(10 * strength)}" for model in MODELS]
        for model, name in zip(MODELS, names, strict=True):
            of, minus = (where(**side, strength=strength, model=model) for side in sides)
            h5[name] = {"statistic": "difference", "metric": "M2", "of": of, "minus": minus}
        every.append(_count([{**above, "estimand": name} for name in names], 3, 2))
    h6 = {"statistic": "pearson", "x": "M2", "y": "dM3", "where": where("davis", perturbation=TIER1)}
    falls = {"kind": "monotone_pooled", "order": "falling", "noise": 2.0}
    return [
        sketch.hypothesis("C1", {"floor": floor}, {**gate, "confirm_at": 1e-6, "refute_at": 1e-6}, "calibration"),
        sketch.hypothesis("H1", h1, _count([{**TREND, "estimand": name} for name in h1], 18, 6)),
        sketch.hypothesis(
            "H2", h2, {"kind": "all_of", "of": [{"kind": "band", "estimand": n, "low": 0.9, "high": 1.4} for n in h2]}
        ),
        sketch.hypothesis(
            "H2_M1",
            h2_m1,
            {"kind": "all_of", "of": [{"kind": "band", "estimand": n, "low": 0, "high": 0.5} for n in h2_m1]},
        ),
        sketch.hypothesis(
            "H3",
            {"hflip": _mean("M2", perturbation="hflip")},
            {
                "kind": "threshold",
                "estimand": "hflip",
                "direction": "below",
                "confirm_at": 0.3,
                "refute_at": 0.3,
                "use": "interval",
            },
        ),
        sketch.hypothesis("H4", h4, _count([{**falls, "estimand": name} for name in h4], 4, 3)),
        sketch.hypothesis(
            "H5",
            h5,
            {"kind": "all_of", "of": [sketch.threshold("ratio", 1.2, 1.0), *every]},
        ),
        sketch.hypothesis("H6", {"r": h6}, sketch.threshold("r", 0.5, 0.3)),
    ]


def study(resamples: int = 10_000) -> Preregistration:
    """322 cells: 200 clips of SSv2, 30 of DAVIS."""
    cells = [
        *sketch.cells(["ssv2"], MODELS, TIER1, TEN),
        *sketch.cells(["davis"], MODELS, TIER1, FIVE),
        *sketch.cells(["ssv2"], MODELS, ["reverse", "hflip", "identity"]),
        *sketch.cells(["ssv2"], MODELS, ["camera_roll", "compression"], [0.5]),
        *sketch.cells(["davis"], ["base"], ["reverse", "identity"]),
    ]
    assert len(cells) == 322
    design = sketch.design(cells, clips={"ssv2": 200, "davis": 30})
    return sketch.document(design, _hypotheses(), analysis={"bootstrap_resamples": resamples})


def _effect(metric: str, mean: float, sd: float, slope: float = 0.0, **more: Any) -> dict[str, Any]:
    chosen = {key: value if isinstance(value, list) else [value] for key, value in more.items()}
    along = {"slope": slope, "along": "strength"} if slope else {}
    return {"metric": metric, "where": chosen, "mean": mean, "sd": sd, **along}


def _scenario(says: str, noise: float, slope: float, fall: float, hflip: float, r: float) -> dict[str, Any]:
    effects = [
        _effect("M1", 0.5, 0.15),
        _effect("M2", 0.1, 0.08, slope),
        _effect("M2", 0.1, 0.1, noise * slope, perturbation="gaussian_noise"),
        *(
            _effect("M2", 0.1 + fall * (3 - rank), 0.08, slope, model=model, perturbation=TIER1[1:])
            for rank, model in enumerate(MODELS)
        ),
        _effect("M2", 1.03, 0.1, perturbation="reverse"),
        _effect("M2", hflip, 0.1, perturbation="hflip"),
        _effect("M2", 1e-8, 5e-9, perturbation="identity"),
        _effect("dM3", 0.05, 0.1, 0.3),
    ]
    return {
        "kind": "given",
        "says": says,
        "effects": effects,
        "within_clip": {"M1": 0.3, "M2": 0.3, "dM3": 0.3},
        "associations": [{"x": "M2", "y": "dM3", "r": r}],
    }


def plan(studies: int = 2000) -> Plan:
    """Three scenarios."""
    return Plan.model_validate(
        {
            "scenarios": {
                "as_hoped": _scenario("the effects that the authors expect", 1.6, 0.8, 0.02, 0.25, 0.6),
                "halfway": _scenario("effects of about half that size", 1.25, 0.4, 0.005, 0.31, 0.3),
                "nothing": _scenario("M2 does not respond to anything", 1.0, 0.02, 0.0, 0.9, 0.0),
            },
            "studies": studies,
            "resamples": 1000,
            "seed": 7,
        }
    )
