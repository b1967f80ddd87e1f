"""The append-only log of all events of the studies of a root.

The file has one leaf per line, as canonical JSON. The leaves form a Merkle tree (RFC 6962). The file `checkpoint` in
the same folder holds the size and the root of the tree. An append writes the leaf without its newline, then the
checkpoint, then the newline, and syncs each. If the machine fails at any time, the file holds either the old ledger,
with an unfinished line that is ignored with a notice, or the new ledger.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar, overload

from filelock import FileLock, Timeout
from pydantic import ValidationError

from vjepa_stress.digest import Digest, parse_json
from vjepa_stress.disk import sync_folder, write_durably, writing
from vjepa_stress.errors import BadDocument, LedgerTampered, MachineFailure
from vjepa_stress.fields import now
from vjepa_stress.ledger.checkpoint import KEEP, ORIGIN, Checkpoint, Note
from vjepa_stress.ledger.events import EVENT, Leaf
from vjepa_stress.ledger.tree import Tree
from vjepa_stress.study_root import StudyRoot

Kind = TypeVar("Kind", bound=Leaf)


@dataclass(frozen=True)
class LedgerView:
    """A ledger that was read and verified.

    Attributes:
        leaves: all leaves in order.
        notices: repairs on reading, to be shown to the user.
    """

    leaves: tuple[Leaf, ...]
    notices: tuple[str, ...] = ()
    _tree: Tree = field(default_factory=Tree, repr=False)

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """Size and root of the first `size` leaves; of all leaves when None."""
        count = len(self.leaves) if size is None else size
        return Checkpoint(count, self._tree.root(count))

    def contains(self, earlier: Checkpoint) -> bool:
        """Whether `earlier` is the checkpoint of a prefix of this ledger."""
        return earlier.size <= len(self.leaves) and self._tree.root(earlier.size) == earlier.root

    def first(self, size: int) -> LedgerView:
        """The ledger as it was when it had `size` leaves."""
        return LedgerView(self.leaves[:size], self.notices, self._tree)

    @overload
    def of(self, study: str) -> tuple[Leaf, ...]: ...

    @overload
    def of(self, study: str, kind: type[Kind]) -> tuple[Kind, ...]: ...

    def of(self, study: str, kind: type[Leaf] = Leaf) -> tuple[Leaf, ...]:
        """Leaves of one study; only those of type `kind` when it is given."""
        return tuple(leaf for leaf in self.leaves if leaf.study == study and isinstance(leaf, kind))


def _read_pair(root: StudyRoot) -> tuple[bytes | None, bytes]:
    """A consistent pair of checkpoint and ledger, even if another process appends meanwhile."""
    for _ in range(100):
        before, data, after = _bytes(root.checkpoint), _bytes(root.ledger) or b"", _bytes(root.checkpoint)
        if before == after:
            return before, data
    raise MachineFailure(
        "the ledger changed during every attempt to read it",
        where=root.ledger,
        fix="end the process that writes to it, then try again",
    )


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.exists() else None
    except IsADirectoryError as error:
        raise LedgerTampered("the path of the ledger or its checkpoint is a folder", where=path, fix=KEEP) from error


def read(root: StudyRoot) -> LedgerView:
    """Read the ledger and verify it against its checkpoint, leaf by leaf.

    Raises:
        LedgerTampered: for any difference except an unfinished last line.
    """
    stored, data = _read_pair(root)
    if stored is None:
        if b"\n" in data:
            raise LedgerTampered(
                "the ledger has no checkpoint",
                where=root.checkpoint,
                expected=f"three lines: {ORIGIN}, size, root",
                fix=KEEP,
            )
        # The first append was not finished: nothing is registered yet.
        return LedgerView(())
    checkpoint = Note.parse(stored, root.checkpoint).checkpoint
    lines = data.split(b"\n")
    if len(lines) < checkpoint.size or (checkpoint.size and lines[checkpoint.size - 1] == b""):
        raise LedgerTampered(
            "the ledger is shorter than its checkpoint",
            where=root.ledger,
            expected=f"{checkpoint.size} leaves",
            found=f"{sum(1 for line in lines if line)} leaves",
            fix=KEEP,
        )
    kept, rest = lines[: checkpoint.size], lines[checkpoint.size :]
    tree = Tree()
    leaves = []
    for number, line in enumerate(kept):
        leaves.append(_leaf(root.ledger, number, line, tree.root()))
        tree.append(line)
    if tree.root() != checkpoint.root:
        raise LedgerTampered(
            "the ledger differs from its checkpoint",
            where=root.ledger,
            expected=checkpoint.short,
            found=Checkpoint(checkpoint.size, tree.root()).short,
            fix=KEEP,
        )
    # After the last newline that the checkpoint covers, the file may hold the beginning of an interrupted append.
    if len(rest) > 1:
        raise LedgerTampered(
            "the ledger is longer than its checkpoint",
            where=root.ledger,
            expected=f"{checkpoint.size} leaves",
            found=f"{checkpoint.size + len(rest) - 1} or more",
            fix=KEEP,
        )
    notices: tuple[str, ...] = ()
    if rest and rest[0]:
        notices = (f"{root.ledger}: an append was interrupted; its unfinished last line is ignored",)
    return LedgerView(tuple(leaves), notices, tree)


def _leaf(path: os.PathLike[str], number: int, line: bytes, previous: Digest) -> Leaf:
    where = f"{path}, line {number + 1}"
    try:
        parse_json(line, where)
        leaf: Leaf = EVENT.validate_json(line, strict=True)
        canonical = leaf.to_bytes() == line
    except (BadDocument, ValidationError) as error:
        raise LedgerTampered(
            "a line of the ledger is not an event", where=where, found=str(error), fix=KEEP
        ) from error
    if not canonical or leaf.seq != number or leaf.prev_root != previous:
        raise LedgerTampered(
            "a line of the ledger does not continue the previous lines",
            where=where,
            expected=f"canonical JSON, seq {number}, prev_root {previous}",
            found=f"seq {leaf.seq}, prev_root {leaf.prev_root}" if canonical else "JSON in another form",
            fix=KEEP,
        )
    return leaf


def append(
    root: StudyRoot,
    kind: type[Kind],
    /,
    *,
    prepare: Callable[[LedgerView], None] | None = None,
    **fields: object,
) -> tuple[Kind, Checkpoint]:
    """Append one leaf durably, and rewrite the checkpoint.

    Nothing is written when an error is raised.

    Args:
        kind: the event.
        prepare: called with the verified ledger while the lock is held, before anything is written. It may raise an
            error to refuse the append.
        fields: fields of the event, with `study` and `document`.

    Returns:
        The leaf and the new checkpoint.

    Raises:
        LedgerTampered: when the existing ledger cannot be verified.
        BadDocument: when a field has no canonical form.
        ValidationError: when the fields are not those of the event.
    """
    with writing(root.prereg):
        root.prereg.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root.prereg / ".ledger.lock", timeout=60)
    try:
        with writing(root.ledger), lock:
            view = read(root)
            size, previous = view.checkpoint()
            leaf = kind.model_validate({**fields, "seq": size, "at": now(), "prev_root": previous})
            line = leaf.to_bytes()
            parse_json(line, root.ledger)
            if prepare is not None:
                prepare(view)
            view._tree.append(line)
            checkpoint = Checkpoint(size + 1, view._tree.root())
            _write_leaf(root, size, line, checkpoint)
            return leaf, checkpoint
    except Timeout as error:
        raise MachineFailure(
            "the ledger is locked by another process", where=root.ledger, fix="wait until it ends, then try again"
        ) from error


def _write_leaf(root: StudyRoot, size: int, line: bytes, checkpoint: Checkpoint) -> None:
    new = not root.ledger.exists()
    with root.ledger.open("w+b" if new else "r+b") as stream:
        kept = b"".join(entry + b"\n" for entry in stream.read().split(b"\n")[:size])
        # An earlier append may have been interrupted before its checkpoint (an extra line) or after it (a missing
        # newline). The bytes written first are those that the file already has.
        stream.seek(0)
        stream.write(kept)
        stream.truncate()
        _write_synced(stream, line)
        if new:
            sync_folder(root.prereg)
        write_durably(root.checkpoint, Note(checkpoint).to_bytes())
        _write_synced(stream, b"\n")


def _write_synced(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()
    os.fsync(stream.fileno())
