"""The closed vocabularies that kernels, documents and judges share."""

from typing import Literal

Correspondence = Literal["in-place", "time-reversed", "mirrored", "rotated"]
"""How positions of a perturbed clip map to positions of the clean clip."""

PerturbationRole = Literal["tier1", "tier2", "probe"]
"""Tier 1 and 2 have strengths; a probe has a known expected result and runs once."""

Family = Literal["image-noise", "time-axis", "geometry", "calibration"]
"""What a perturbation disturbs."""

Compares = Literal["positions", "regions"]
"""What a metric compares between a clean and a perturbed clip."""

ModelRole = Literal["subject", "control"]
"""Rules judge subjects; a control cannot know anything and stands beside them."""

COUNTS = ("n", "n_both_zero", "n_one_zero", "n_non_finite")
"""Shard columns beside each metric, as `M2_n` and so on."""

SCHEMA_PREFIX = "vjepa-stress"
