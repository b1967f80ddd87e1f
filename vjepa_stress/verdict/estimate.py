"""Public functions of the statistics: arrays in, estimates out.

Every function is deterministic. To reproduce a result exactly, pass the units in the same order; functions that take
the unit of each row sort by it themselves. NaN stands for a missing value.
"""

from __future__ import annotations

from vjepa_stress.statistics.auroc import auroc
from vjepa_stress.statistics.difference import difference
from vjepa_stress.statistics.incremental import incremental
from vjepa_stress.statistics.jumps import jumps
from vjepa_stress.statistics.maximum import maximum
from vjepa_stress.statistics.mean import bootstrap_mean, cluster_bootstrap
from vjepa_stress.statistics.numerics.betting import betting_mean
from vjepa_stress.statistics.numerics.estimate import Estimate, Step
from vjepa_stress.statistics.numerics.fisher import fisher_ci
from vjepa_stress.statistics.numerics.resample import Resampling
from vjepa_stress.statistics.numerics.resample import unit_counts as clip_counts
from vjepa_stress.statistics.pearson import pearson, pearson_difference
from vjepa_stress.statistics.ratio_of_means import ratio_of_means
from vjepa_stress.statistics.spearman import spearman
from vjepa_stress.statistics.transfer import transfer
from vjepa_stress.statistics.trend import trend
from vjepa_stress.statistics.within_cell import within_cell

__all__ = [
    "Estimate",
    "Resampling",
    "Step",
    "auroc",
    "betting_mean",
    "bootstrap_mean",
    "clip_counts",
    "cluster_bootstrap",
    "difference",
    "fisher_ci",
    "incremental",
    "jumps",
    "maximum",
    "pearson",
    "pearson_difference",
    "ratio_of_means",
    "spearman",
    "transfer",
    "trend",
    "within_cell",
]
