"""Estimates from arrays: the public names of the statistics, for experiments of any kind.

Every function is deterministic and, as long as the caller sorts units the same way, independent of the order of its
rows; those that take a unit's name for each value sort by it themselves. NaN stands for a value that is missing.
"""

from __future__ import annotations

from vjepa_stress.statistics.difference import difference
from vjepa_stress.statistics.jumps import jumps
from vjepa_stress.statistics.maximum import maximum
from vjepa_stress.statistics.mean import bootstrap_mean, cluster_bootstrap
from vjepa_stress.statistics.numerics.estimate import Estimate, Step
from vjepa_stress.statistics.numerics.fisher import fisher_ci
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.numerics.resample import unit_counts as clip_counts
from vjepa_stress.statistics.pearson import pearson, pearson_difference
from vjepa_stress.statistics.ratio_of_means import ratio_of_means
from vjepa_stress.statistics.spearman import spearman
from vjepa_stress.statistics.trend import trend

__all__ = [
    "Estimate",
    "Resampling",
    "Step",
    "bootstrap_mean",
    "clip_counts",
    "cluster_bootstrap",
    "difference",
    "fisher_ci",
    "jumps",
    "maximum",
    "pearson",
    "pearson_difference",
    "ratio_of_means",
    "spearman",
    "trend",
]
