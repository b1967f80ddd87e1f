"""Statistics, one per file of this folder, with fields, filters, range, computation and words.

The set is closed: only this folder is searched, so a plugin cannot add a statistic.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vjepa_stress.closed_sets import find_members
from vjepa_stress.statistics.base import Comparison, Defect, Span, Statistic

__all__ = ["STATISTICS", "Comparison", "Defect", "Estimand", "Span", "Statistic"]


STATISTICS = find_members(__name__, __path__, Statistic, "statistic")
"""Every statistic, by its name in documents."""

if TYPE_CHECKING:
    Estimand = Statistic
else:
    Estimand = Annotated[functools.reduce(operator.or_, STATISTICS.values()), Field(discriminator="statistic")]
