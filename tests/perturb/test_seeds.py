"""Seeds of perturbations depend on study, clip and name, and on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np

from vjepa_stress.digest import sha256
from vjepa_stress.perturb.seeds import clip_seed, generator

CLIP = sha256(b"clip")


def test_a_seed_is_the_low_bits_of_a_digest() -> None:
    text = f'{{"clip":"{CLIP}","perturbation":"occlusion","seed":7}}'
    expected = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2**53
    assert clip_seed(7, CLIP, "occlusion") == expected


def test_study_clip_and_name_all_count() -> None:
    seeds = [
        clip_seed(7, CLIP, "occlusion"),
        clip_seed(8, CLIP, "occlusion"),
        clip_seed(7, sha256(b"other"), "occlusion"),
        clip_seed(7, CLIP, "noise"),
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_a_generator_is_counter_based_and_starts_anew() -> None:
    first, again, other = (generator(seed).random(8) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, np.random.Generator(np.random.Philox(key=5)).random(8))
