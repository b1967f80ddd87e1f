"""One tree of errors: each says what was found, what was expected and what to do next.

The class decides the exit code: 2 bad input, 3 tampered, 4 the machine gave up, 11 cannot be evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class StressError(Exception):
    """Base of everything this package raises on purpose.

    Args:
        what: one sentence that says what went wrong.
        where: the file, field or cell it concerns.
        expected: what should have been there.
        found: what was there.
        fix: what the reader can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.expected, self.found, self.fix = what, where, expected, found, fix
        rows = [("where", where), ("expected", expected), ("found", found), ("fix", fix)]
        lines = [f"  {label}: {value}" for label, value in rows if value is not None]
        super().__init__("\n".join([what, *lines]))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip through a worker process with all fields."""
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.found, self.fix))


def _rebuild(
    kind: type[StressError], what: str, where: object, expected: object, found: object, fix: str | None
) -> StressError:
    return kind(what, where=where, expected=expected, found=found, fix=fix)


def did_you_mean(found: str, known: Iterable[str]) -> str | None:
    """A question that names what was probably meant, or None when nothing known is close to what was found."""
    close = get_close_matches(found, list(known))
    return f"did you mean {' or '.join(close)}?" if close else None


class BadInput(StressError):
    """What the user gave cannot be used."""

    exit_code = 2


class BadDocument(BadInput):
    """A document does not parse, or does not fit its schema."""


class BadConfiguration(BadInput):
    """A building block's configuration does not fit its class."""


class NotHere(BadInput):
    """Files that a study needs are not on this machine; a registration may leave their digest open."""


class BadVideo(BadInput):
    """A video file is missing, truncated, too short or no video at all."""


class BadCheckpoint(BadInput):
    """A weights file is missing, unsafe or does not fit its architecture."""


class OutsideDesign(BadInput):
    """A cell was asked for that the registration does not list."""


class NotRegistered(BadInput):
    """The study, or the version of it, is not in the ledger."""


class AlreadyRegistered(BadInput):
    """The study exists; it can be amended, never registered again."""


class DuplicateIdentifier(BadInput):
    """One hypothesis id stands for two claims in a study and its amendments."""


class NoSuccessor(BadInput):
    """A document that does not follow from the study's newest one cannot amend it."""


class StatusTooEarly(BadInput):
    """A document claims a data status that the ledger rules out."""


class MissingExtra(BadInput):
    """The command needs an optional part of the package."""


class CannotWrite(BadInput):
    """The chosen folder does not take files."""


class Tampered(StressError):
    """Something that was fixed has changed."""

    exit_code = 3


class LedgerTampered(Tampered):
    """The ledger does not equal its checkpoint, or does not verify."""


class DocumentTampered(Tampered):
    """A frozen document is not the one that was registered."""


class ShardTampered(Tampered):
    """A shard is not the one its manifest describes."""


class ManifestTampered(Tampered):
    """The manifests are not the ones that the ledger's `completed` leaf holds."""


class IdentityChanged(Tampered):
    """Weights, clips or specifications are not the registered ones."""


class ResultTampered(Tampered):
    """A verdict or report on disk is not what the evidence gives, or not what was logged."""


class NotEvaluable(StressError):
    """The evidence is intact but does not allow a verdict."""

    exit_code = 11


class RunBeforeRegistration(NotEvaluable):
    """A run was launched before the study was registered."""


class CellsIncomplete(NotEvaluable):
    """The cells present are not exactly the cells registered."""


class CodeChanged(NotEvaluable):
    """Cells were computed by code other than the launched one, and no deviation says so."""


class FlaggedValues(NotEvaluable):
    """A shard holds a non-finite value."""


class RowsMissing(NotEvaluable):
    """A shard does not have one row for each registered clip."""


class MachineFailure(StressError):
    """The machine gave up: disk full, input/output error, a job lost."""

    exit_code = 4
