"""Where the encoder's goldens are, and what they say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vjepa_stress.encoders.vjepa21 import VJEPA21Config

SHIPPED = Path(__file__).parents[1] / "golden" / "a_encoder"
FULL = os.environ.get("VJEPA_STRESS_GOLDEN")
GOLDEN = Path(FULL) / "a_encoder" if FULL else SHIPPED
SETS = sorted(path.stem for path in GOLDEN.glob("*.json"))


def notes_of(name: str) -> dict[str, Any]:
    """What the golden set says about itself."""
    notes: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return notes


def config_of(name: str) -> VJEPA21Config:
    """The architecture of a golden set."""
    notes = notes_of(name)
    return VJEPA21Config(**{field: notes[field] for field in VJEPA21Config.model_fields})


def arrays(path: Path) -> dict[str, Tensor]:
    """All arrays of an npz file."""
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
