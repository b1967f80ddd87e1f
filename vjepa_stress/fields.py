"""Types of fields that documents, the ledger and records share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vjepa_stress.digest import LARGEST_INTEGER

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
"""A name of a level, metric, estimand or hypothesis."""

Text = Annotated[str, Field(min_length=1)]
"""Words for readers."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that is neither NaN nor infinite."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
"""A seed that every JSON reader reads alike."""

Version = Annotated[str, Field(pattern=r"^v[1-9][0-9]{0,3}$")]
"""A version of a study: v1, v2, …"""

Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]
"""A time as RFC 3339 writes it."""

DataStatus = Literal["before-creation", "before-observation", "before-access", "before-analysis", "after-analysis"]
"""What the authors could have known of the data, earliest first."""

Reason = Literal[
    "unforeseen-event", "error-in-registration", "missing-information", "violated-assumption", "falsified-auxiliary"
]
"""Why a registration is amended."""


class Frozen(BaseModel):
    """Base of everything inside a frozen document: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def now() -> str:
    """The time, as RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
