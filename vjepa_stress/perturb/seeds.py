"""Common random numbers: one counter-based generator a clip and perturbation, whatever the model or strength."""

from __future__ import annotations

import numpy as np

from vjepa_stress.digest import LARGEST_INTEGER, Digest, digest_of


def clip_seed(study_seed: int, clip: Digest, perturbation: str, index: int = 0) -> int:
    """Seed of a clip's perturbation, below 2**53.

    Model and strength do not enter: all models get identical pixels, and a stronger perturbation adds to a
    weaker one.

    Args:
        study_seed: of the design.
        clip: digest of the clip.
        perturbation: its name in the design.
        index: level of the factor `seed`; each gives independent draws.
    """
    drawn = {"seed": study_seed, "clip": clip, "perturbation": perturbation}
    key = digest_of(drawn | {"index": index} if index else drawn)
    return int(key.hex, 16) & LARGEST_INTEGER


def generator(seed: int) -> np.random.Generator:
    """A generator whose stream is the same on every machine; draws are made on the CPU and moved."""
    return np.random.Generator(np.random.Philox(key=seed))
