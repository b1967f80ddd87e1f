"""Errors. Each has what happened, where, what was expected, what was found, and a fix.

The class determines the exit code: 2 bad input, 3 tampered, 4 machine failure, 11 not evaluable.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class StressError(Exception):
    """Base class of all errors that this package raises on purpose.

    Args:
        what: one sentence that describes what happened.
        where: the file, field or cell that is affected.
        expected: the expected value.
        found: the actual value.
        fix: a command or an instruction that resolves the error.
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
        """Pickle with all fields, so that an error raised in a worker process stays complete."""
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.found, self.fix))


def _rebuild(
    kind: type[StressError], what: str, where: object, expected: object, found: object, fix: str | None
) -> StressError:
    return kind(what, where=where, expected=expected, found=found, fix=fix)


def did_you_mean(found: str, known: Iterable[str], most: int = 3) -> str | None:
    """The question "did you mean …?" with at most `most` names close to `found`; None when no name is close."""
    close = get_close_matches(found, list(known), n=most)
    return f"did you mean {' or '.join(close)}?" if close else None


class BadInput(StressError):
    """The input of the user is invalid."""

    exit_code = 2


class BadDocument(BadInput):
    """A document cannot be parsed, or does not match its schema."""


class BadConfiguration(BadInput):
    """The configuration of a building block does not match its class."""


class NotHere(BadInput):
    """Files that a study needs are missing on this machine. A registration may leave their digest open."""


class BadVideo(BadInput):
    """A video file is missing, truncated, too short, or not a video."""


class BadCheckpoint(BadInput):
    """A weights file is missing, unsafe, or does not match its architecture."""


class OutsideDesign(BadInput):
    """A requested cell is not in the registration."""


class NotRegistered(BadInput):
    """The study, or this version of it, is not in the ledger."""


class AlreadyRegistered(BadInput):
    """The study is registered. It can be amended, but not registered again."""


class DuplicateIdentifier(BadInput):
    """Two claims have the same hypothesis id, in one document or in several versions."""


class NoSuccessor(BadInput):
    """A document is not a valid next version of the study."""


class StatusTooEarly(BadInput):
    """A document declares a data status that the ledger rules out."""


class MissingExtra(BadInput):
    """The command needs an optional extra of the package."""


class CannotWrite(BadInput):
    """The chosen folder cannot be written."""


class Tampered(StressError):
    """A frozen or logged file has changed."""

    exit_code = 3


class LedgerTampered(Tampered):
    """The ledger differs from its checkpoint, or cannot be verified."""


class DocumentTampered(Tampered):
    """A frozen document differs from the registered one."""


class ShardTampered(Tampered):
    """A shard differs from the one that its manifest describes."""


class ManifestTampered(Tampered):
    """A manifest differs from its launch, or from the `completed` leaf of the ledger."""


class IdentityChanged(Tampered):
    """Weights, clips or specifications differ from the registered ones."""


class ResultTampered(Tampered):
    """A stored verdict or report differs from the recomputed one, or from the logged one."""


class NotEvaluable(StressError):
    """The evidence is intact but does not allow a verdict."""

    exit_code = 11


class RunBeforeRegistration(NotEvaluable):
    """A run was launched before the study was registered."""


class CellsIncomplete(NotEvaluable):
    """The stored cells are not exactly the registered cells."""


class CodeChanged(NotEvaluable):
    """Cells were computed by code other than the launched code, and no deviation was declared."""


class FlaggedValues(NotEvaluable):
    """A shard holds a value that is not finite or outside the range of its metric."""


class RowsMissing(NotEvaluable):
    """A shard does not have one row for each registered clip."""


class MachineFailure(StressError):
    """The machine failed: disk full, input/output error, job lost, device not usable."""

    exit_code = 4
