"""Common random numbers: one counter-based generator per clip and perturbation, for all models and strengths."""

from __future__ import annotations

import numpy as np

from vjepa_stress.digest import LARGEST_INTEGER, Digest, digest_of


def clip_seed(study_seed: int, clip: Digest, perturbation: str, index: int = 0) -> int:
    """Seed of a clip's perturbation, below 2**53.

    The seed does not depend on model and strength: all models get identical pixels, and a stronger perturbation
    extends a weaker one.

    Args:
        study_seed: seed of the design.
        clip: digest of the clip.
        perturbation: name in the design.
        index: level of the factor `seed`; levels have independent draws.
    """
    drawn = {"seed": study_seed, "clip": clip, "perturbation": perturbation}
    key = digest_of(drawn | {"index": index} if index else drawn)
    return int(key.hex, 16) & LARGEST_INTEGER


def generator(seed: int) -> np.random.Generator:
    """A generator with the same stream on every machine; numbers are drawn on the CPU and moved to the device."""
    return np.random.Generator(np.random.Philox(key=seed))
