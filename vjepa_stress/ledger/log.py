"""The append-only log of everything that happened to the studies of a root.

One canonical JSON leaf a line; the leaves form a Merkle tree (RFC 6962, through `pymerkle`). Beside it the
checkpoint file holds one line, `size root`. An append writes the leaf without its newline, then the checkpoint,
then the newline, each synced: whatever moment the machine dies at, what is left is either the old ledger with
an unfinished line (dropped with a notice) or the new one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pymerkle import InmemoryTree

from vjepa_stress.digest import Digest, canonical_json, parse_json, sha256
from vjepa_stress.disk import sync_folder, write_durably, writing
from vjepa_stress.errors import BadDocument, LedgerTampered, MachineFailure
from vjepa_stress.study_root import STUDY_NAME, StudyRoot

Event = Literal[
    "registered", "amended", "withdrawn", "launched", "completed", "failed", "viewed", "signed", "timestamped"
]
ABOUT_LOOKING = frozenset({"viewed", "signed", "timestamped"})
"""Events that change nothing a verdict depends on."""

_VERSION = TypeAdapter[str](str)
_NUMBER = TypeAdapter[int](Annotated[int, Field(ge=1)])
_DIGEST = TypeAdapter[Digest](Digest)
_DIGESTS = TypeAdapter[dict[str, Digest]](dict[str, Digest])
_LAUNCHED: dict[str, TypeAdapter[Any]] = {
    "cells": TypeAdapter(list[str]),
    "code": _DIGEST,
    "dirty": TypeAdapter(bool),
    "weights": _DIGESTS,
    "clips": _DIGESTS,
}
_REQUIRED: dict[Event, dict[str, TypeAdapter[Any]]] = {
    "registered": {"version": _VERSION, "data_status": _VERSION},
    "amended": {"version": _VERSION},
    "withdrawn": {"version": _VERSION},
    "launched": _LAUNCHED | {"attempt": _NUMBER},
    "completed": {"attempt": _NUMBER, "root": _DIGEST},
}
"""Details that others rely on, by event; there may be more. An exploratory launch is part of no attempt."""

_CHECKPOINT = re.compile(rb"(0|[1-9][0-9]{0,11}) (sha256:[0-9a-f]{64})\n")
_KEEP = "keep both files as they are; restore them from a copy whose checkpoint you trust"


class Checkpoint(NamedTuple):
    """Size and Merkle root of a ledger; what an author keeps elsewhere."""

    size: int
    root: Digest

    def __str__(self) -> str:
        return f"{self.size} {self.root}"

    @classmethod
    def parse(cls, data: bytes, where: object) -> Checkpoint:
        """Read the one line of a checkpoint.

        Raises:
            LedgerTampered: for any other bytes.
        """
        match = _CHECKPOINT.fullmatch(data)
        if match is None:
            raise LedgerTampered(
                "the checkpoint is not one line of size and root", where=where, found=repr(data[:100]), todo=_KEEP
            )
        return cls(int(match[1]), Digest(match[2].decode()))


class Leaf(BaseModel):
    """One event. `prev_root` is the root of the tree before this leaf."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=0)
    at: str = Field(description="RFC 3339, UTC; informative: order is proven by the tree")
    event: Event
    study: str = Field(pattern=STUDY_NAME)
    document: Digest | None = None
    parent: Digest | None = None
    details: dict[str, Any]
    prev_root: Digest


@dataclass(frozen=True)
class LedgerView:
    """A ledger that was read and verified.

    Attributes:
        leaves: all leaves in order.
        notices: what was mended on reading, to be shown to the user.
    """

    leaves: tuple[Leaf, ...]
    notices: tuple[str, ...] = ()
    _tree: InmemoryTree = field(default_factory=InmemoryTree, repr=False)

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """Size and root of the first `size` leaves, of all when None."""
        count = len(self.leaves) if size is None else size
        return Checkpoint(count, _root(self._tree, count))

    def contains(self, earlier: Checkpoint) -> bool:
        """Whether this ledger is a continuation of the one `earlier` was taken from."""
        return earlier.size <= len(self.leaves) and _root(self._tree, earlier.size) == earlier.root

    def first(self, size: int) -> LedgerView:
        """The ledger as it was when it had `size` leaves."""
        return LedgerView(self.leaves[:size], self.notices, self._tree)

    def of(self, study: str) -> tuple[Leaf, ...]:
        """Leaves of one study."""
        return tuple(leaf for leaf in self.leaves if leaf.study == study)


def _root(tree: InmemoryTree, size: int) -> Digest:
    # RFC 6962 defines the root of no leaves as the hash of nothing; pymerkle cannot ask for it by size.
    return sha256(b"") if size == 0 else Digest("sha256:" + tree.get_root(size).hex())


def tree_root(entries: list[bytes]) -> Digest:
    """Merkle root (RFC 6962) over byte strings in the order given."""
    return _root(InmemoryTree.init_from_entries(entries), len(entries))


def _read_pair(root: StudyRoot) -> tuple[bytes | None, bytes]:
    """Checkpoint and ledger of one moment, though another process may be appending."""
    for _ in range(100):
        before, data, after = _bytes(root.checkpoint), _bytes(root.ledger) or b"", _bytes(root.checkpoint)
        if before == after:
            return before, data
    raise MachineFailure(
        "the ledger never stands still", where=root.ledger, todo="end the process that keeps writing it"
    )


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.exists() else None
    except IsADirectoryError as error:
        raise LedgerTampered("a folder has taken the place of the ledger's file", where=path, todo=_KEEP) from error


def read(root: StudyRoot) -> LedgerView:
    """Read the ledger and verify it against its checkpoint, leaf by leaf.

    Raises:
        LedgerTampered: when anything but an unfinished last line differs.
    """
    stored, data = _read_pair(root)
    if stored is None:
        if b"\n" in data:
            raise LedgerTampered(
                "the ledger has no checkpoint", where=root.checkpoint, expected="size root", todo=_KEEP
            )
        # Not even the first append was finished: nothing was promised yet.
        return LedgerView(())
    promised = Checkpoint.parse(stored, root.checkpoint)
    lines = data.split(b"\n")
    if len(lines) < promised.size or (promised.size and lines[promised.size - 1] == b""):
        raise LedgerTampered(
            "the ledger is shorter than its checkpoint",
            where=root.ledger,
            expected=f"{promised.size} leaves",
            found=f"{sum(1 for line in lines if line)} leaves",
            todo=_KEEP,
        )
    kept, rest = lines[: promised.size], lines[promised.size :]
    tree = InmemoryTree()
    leaves = []
    for number, line in enumerate(kept):
        leaves.append(_leaf(root.ledger, number, line, _root(tree, number)))
        tree.append_entry(line)
    if _root(tree, promised.size) != promised.root:
        raise LedgerTampered(
            "the ledger differs from its checkpoint",
            where=root.ledger,
            expected=promised,
            found=Checkpoint(promised.size, _root(tree, promised.size)),
            todo=_KEEP,
        )
    # After the last promised newline there may be nothing, or the beginning of an append that was cut off.
    if len(rest) > 1:
        raise LedgerTampered(
            "the ledger is longer than its checkpoint",
            where=root.ledger,
            expected=f"{promised.size} leaves",
            found=f"{promised.size + len(rest) - 1} or more",
            todo=_KEEP,
        )
    notices: tuple[str, ...] = ()
    if rest and rest[0]:
        notices = (f"{root.ledger}: an append was interrupted; its unfinished last line is dropped",)
    return LedgerView(tuple(leaves), notices, tree)


def _leaf(path: os.PathLike[str], number: int, line: bytes, previous: Digest) -> Leaf:
    where = f"{path}, line {number + 1}"
    try:
        leaf = Leaf.model_validate(parse_json(line, where))
        canonical = canonical_json(leaf.model_dump(mode="json", exclude_unset=True)) == line
    except (BadDocument, ValidationError) as error:
        raise LedgerTampered("a line of the ledger is no leaf", where=where, found=str(error), todo=_KEEP) from error
    if not canonical or leaf.seq != number or leaf.prev_root != previous:
        raise LedgerTampered(
            "a line of the ledger does not follow from the lines before it",
            where=where,
            expected=f"canonical JSON, seq {number}, prev_root {previous}",
            found=f"seq {leaf.seq}, prev_root {leaf.prev_root}",
            todo=_KEEP,
        )
    _check_details(leaf, where)
    return leaf


def _check_details(leaf: Leaf, where: str) -> None:
    """Refuse a leaf without the details that its event has always had."""
    required = _REQUIRED.get(leaf.event, {})
    if leaf.event == "launched" and leaf.details.get("exploratory") is True:
        required = _LAUNCHED
    if leaf.event == "viewed" and "files" in leaf.details:
        required = {"files": _DIGESTS}
    for name, kind in required.items():
        try:
            kind.validate_python(leaf.details.get(name), strict=True)
        except (ValidationError, ValueError) as error:
            raise LedgerTampered(
                f"a `{leaf.event}` leaf lacks what it must say",
                where=where,
                expected=f"`{name}`, as every `{leaf.event}` leaf has it",
                found=repr(leaf.details.get(name))[:100],
                todo=_KEEP,
            ) from error


def append(
    root: StudyRoot,
    event: Event,
    study: str,
    *,
    document: Digest | None = None,
    parent: Digest | None = None,
    details: dict[str, Any] | None = None,
    prepare: Callable[[LedgerView], None] | None = None,
) -> tuple[Leaf, Checkpoint]:
    """Add one leaf, durably, and rewrite the checkpoint.

    Args:
        prepare: called with the verified ledger under the lock, before anything is written; it may raise to
            refuse the append.

    Returns:
        The leaf and the new checkpoint.

    Raises:
        LedgerTampered: when the existing bytes do not verify; nothing is written.
    """
    with writing(root.prereg):
        root.prereg.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root.prereg / ".ledger.lock", timeout=60)
    try:
        with writing(root.ledger), lock:
            view = read(root)
            if prepare is not None:
                prepare(view)
            size, previous = view.checkpoint()
            fields: dict[str, Any] = {
                "seq": size,
                "at": now(),
                "event": event,
                "study": study,
                "details": details or {},
            }
            fields |= {"document": document} if document else {}
            fields |= {"parent": parent} if parent else {}
            line = canonical_json(fields | {"prev_root": previous})
            leaf = Leaf.model_validate(parse_json(line))
            view._tree.append_entry(line)
            checkpoint = Checkpoint(size + 1, _root(view._tree, size + 1))
            _write_leaf(root, size, line, checkpoint)
            return leaf, checkpoint
    except Timeout as error:
        raise MachineFailure(
            "another process holds the ledger", where=root.ledger, todo="wait for it to end, then try again"
        ) from error


def _write_leaf(root: StudyRoot, size: int, line: bytes, checkpoint: Checkpoint) -> None:
    new = not root.ledger.exists()
    with root.ledger.open("w+b" if new else "r+b") as stream:
        kept = b"".join(entry + b"\n" for entry in stream.read().split(b"\n")[:size])
        # An earlier append may have been cut off before its checkpoint (a line too many) or after it (a newline
        # too few). What is written again here are the bytes that stand there already.
        stream.seek(0)
        stream.write(kept)
        stream.truncate()
        _write_synced(stream, line)
        if new:
            sync_folder(root.prereg)
        write_durably(root.checkpoint, f"{checkpoint}\n".encode())
        _write_synced(stream, b"\n")


def _write_synced(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()
    os.fsync(stream.fileno())


def now() -> str:
    """The time, as RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
