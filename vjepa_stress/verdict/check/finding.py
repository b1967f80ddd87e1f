"""A finding of `check`: a code, a place and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from vjepa_stress.prereg.document import Acknowledged, Preregistration

Severity = Literal["error", "warning", "acknowledged", "suggestion"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """A finding of `check`.

    Attributes:
        severity: errors, and warnings that are not acknowledged, block the registration of a draft.
        code: kind of finding.
        where: hypothesis or estimand.
        values: values in the message.
    """

    severity: Severity
    code: str
    where: str
    values: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        """Whether it blocks the registration."""
        return self.severity in {"error", "warning"}


def warning(
    document: Preregistration,
    code: str,
    hypothesis: str | None,
    estimand: str | None,
    values: Mapping[str, str | float | int],
) -> Finding:
    """A warning about the study, a hypothesis or one of its estimands, acknowledged if the document says so."""
    named = {name: one for name, one in (("hypothesis", hypothesis), ("estimand", estimand)) if one is not None}
    where = ".".join(named.values()) or "operating_characteristics"
    known: dict[tuple[str, str | None, str | None], Acknowledged] = {
        (one.warning, one.hypothesis, one.estimand): one for one in document.acknowledged
    }
    if one := known.get((code, hypothesis, estimand)):
        return Finding("acknowledged", code, where, {**values, "reason": one.reason})
    return Finding("warning", code, where, {**values, **named})
