"""Write `confseq.json`; see README.md."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

LOOKS = (10, 30, 60)


def data() -> dict[str, list[float]]:
    """Values between 0 and 1 of four kinds, rounded, so that the file holds them exactly."""
    chance = np.random.default_rng(20)
    drawn = {
        "beta": chance.beta(2, 5, 60),
        "bernoulli": chance.binomial(1, 0.2, 60),
        "clipped": (0.2 + 0.3 * chance.standard_normal(60)).clip(0, 1),
        "narrow": 0.9 + 0.01 * chance.uniform(-1, 1, 60),
    }
    return {name: [float(f"{value:.4f}") for value in values] for name, values in drawn.items()}


def main(source: str) -> None:
    """Run confseq."""
    sys.path.insert(0, source)
    np.float_ = np.float64  # type: ignore[attr-defined]  # confseq 0.0.11 is older than numpy 2
    for name in ("multiprocess", "confseq.boundaries"):
        sys.modules[name] = types.ModuleType(name)
    from confseq.betting import betting_cs  # type: ignore[import-not-found]
    from confseq.predmix import lambda_predmix_eb  # type: ignore[import-not-found]

    def bets(x: Any, m: Any) -> Any:
        return lambda_predmix_eb(x, alpha=0.025)

    cases = []
    for name, values in data().items():
        for level in (0.9, 0.95, 0.99):
            settings = {"alpha": 1 - level, "breaks": 20_000, "running_intersection": True, "trunc_scale": 0.75}
            low, high = betting_cs(np.array(values), bets, bets, **settings)
            ends = [[float(low[n - 1]), float(high[n - 1])] for n in LOOKS]
            cases.append({"data": name, "level": level, "looks": LOOKS, "ends": ends})
    text = json.dumps({"grid": 20_000, "data": data(), "cases": cases}, indent=1) + "\n"
    (Path(__file__).parent / "confseq.json").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
