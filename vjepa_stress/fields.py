"""Field types that are shared by documents, the ledger and records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vjepa_stress.digest import LARGEST_INTEGER

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
"""Name of a level, metric, estimand or hypothesis."""

Text = Annotated[str, Field(min_length=1)]
"""Text for readers."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that is neither NaN nor infinite."""

Level = (
    Annotated[str, Field(min_length=1, max_length=200)] | Annotated[float, Field(strict=True, allow_inf_nan=False)]
)
"""A level of a factor: a name or a number."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
"""A seed: a non-negative integer that JSON represents exactly."""

Version = Annotated[str, Field(pattern=r"^v[1-9][0-9]{0,3}$")]
"""A version of a study: v1, v2, …"""

Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]
"""A time in the format of RFC 3339."""

DataStatus = Literal["before-creation", "before-observation", "before-access", "before-analysis", "after-analysis"]
"""How much of the data the authors could have known, from nothing to everything."""

Reason = Literal[
    "unforeseen-event", "error-in-registration", "missing-information", "violated-assumption", "falsified-auxiliary"
]
"""The reason for an amendment."""


class Frozen(BaseModel):
    """Base class of all parts of a frozen document: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def now() -> str:
    """The current time in UTC, in the format of RFC 3339, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
