"""A first look at many files: digest and facts from the same bytes, in parallel, remembered between runs.

What is remembered of a file counts as long as its size, times and inode are the same, unless everything is asked to
be read again. That saves time and proves nothing: whoever decodes a clip computes its digest anew, from the bytes
decoded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_stress.digest import Digest, digest_of, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadInput, BadVideo, StressError

Facts = dict[str, Any]
"""JSON values that a look at a file gave."""

Look = Callable[[bytes, Path], Facts]
"""Finds out what must be known of a file; raises BadVideo where it cannot be used."""

_LISTED = 10
"""How many unusable files one error names."""

_WORKERS = 8


@dataclass(frozen=True)
class ReadOptions:
    """How files are looked at.

    Attributes:
        full: read every file again, whatever is remembered.
        progress: told after each file that was read: how many there are, and its name.
    """

    full: bool = False
    progress: Callable[[int, str], None] | None = None


_manner: ContextVar[ReadOptions] = ContextVar("manner", default=ReadOptions())  # noqa: B039 - frozen


@contextmanager
def inspecting(manner: ReadOptions) -> Iterator[None]:
    """Look at files in this manner within the block. It changes how long that takes, and no result."""
    before = _manner.set(manner)
    try:
        yield
    finally:
        _manner.reset(before)


@dataclass(frozen=True)
class Inspected:
    """What was found out about a file.

    Attributes:
        digest: of its bytes.
        facts: what the look at them gave.
    """

    digest: Digest
    facts: Facts


def inspect(files: Mapping[str, Path], kind: str, look: Look) -> tuple[dict[str, Inspected], list[BadVideo]]:
    """Read files and look at them.

    Args:
        files: where each lies, by a name of the caller's own.
        kind: name and version of the look, under which results are remembered.
        look: what to find out.

    Returns:
        What was found, by name, and the failures; both in the order of `files`.
    """
    manner, remembered = _manner.get(), _Memory(kind)
    state = {name: _state(path) for name, path in files.items()}
    known = {
        name: there
        for name, path in files.items()
        if not manner.full and (there := remembered.get(path, state[name])) is not None
    }
    todo = [name for name in files if name not in known]
    failures: dict[str, BadVideo] = {}
    with ThreadPoolExecutor(_WORKERS) as workers:
        for name, result in zip(todo, workers.map(lambda name: _looked(files[name], look), todo), strict=True):
            if isinstance(result, BadVideo):
                failures[name] = result
            else:
                known[name] = result
                # What changed while it was read is not what its state says.
                if state[name] is not None and _state(files[name]) == state[name]:
                    remembered.put(files[name], state[name], result)
            if manner.progress:
                manner.progress(len(todo), name)
    remembered.save()
    return {name: known[name] for name in files if name in known}, [failures[n] for n in files if n in failures]


def bytes_of(path: Path) -> bytes:
    """A file's content.

    Raises:
        BadVideo: when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadVideo(
            "the file cannot be read",
            where=path,
            found=error.strerror,
            fix="check that it is there and may be read; a broken link counts as a missing file",
        ) from error


def unusable(failures: Sequence[StressError], what: str) -> BadVideo:
    """One error that names up to ten failures: `what` is unusable, as in "3 of the 30 chosen videos"."""
    if len(failures) == 1 and isinstance(failures[0], BadVideo):
        return failures[0]
    lines = [f"{f.where}: {f.what}" + (f" ({f.found})" if f.found is not None else "") for f in failures[:_LISTED]]
    if len(failures) > _LISTED:
        lines.append(f"and {len(failures) - _LISTED} more")
    return BadVideo(
        f"{what} cannot be used",
        expected=failures[0].expected if len({f.what for f in failures}) == 1 else None,
        found="".join(f"\n    {line}" for line in lines),
        fix="repair these files or take them out of the data set; nothing was put in their place",
    )


def different(names: Mapping[str, Digest], where: object) -> None:
    """Refuse files of the same content under two names: one clip would count twice.

    Raises:
        BadInput: naming the two.
    """
    seen: dict[Digest, str] = {}
    for name, digest in names.items():
        if digest in seen:
            raise BadInput(
                "two of the chosen videos are the same file under two names",
                where=where,
                found=f"{seen[digest]} and {name}",
                fix="remove one of them",
            )
        seen[digest] = name


def _looked(path: Path, look: Look) -> Inspected | BadVideo:
    try:
        data = bytes_of(path)
        return Inspected(sha256(data), look(data, path))
    except BadVideo as error:
        return error


State = tuple[int, int, int, int]


def _state(path: Path) -> State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


class _Memory:
    """What earlier runs of this user found out; a memory that cannot be read or written is none."""

    def __init__(self, kind: str) -> None:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path("~/.cache").expanduser()) / "vjepa-stress" / "inspected"
        self._path = folder / f"{kind}.json"
        self._files: dict[str, Any] = {}
        self._changed = False
        with suppress(OSError, ValueError, AttributeError):
            self._files = dict(json.loads(self._path.read_bytes()).items())

    def get(self, path: Path, state: State | None) -> Inspected | None:
        entry = self._files.get(self._key(path))
        if state is None or not isinstance(entry, dict) or entry.get("state") != list(state):
            return None
        with suppress(KeyError, ValueError, TypeError):
            return Inspected(Digest(entry["digest"]), dict(entry["facts"]))
        return None

    def put(self, path: Path, state: State | None, found: Inspected) -> None:
        if state is not None:
            entry = {"state": list(state), "digest": found.digest, "facts": found.facts}
            self._files[self._key(path)] = entry
            self._changed = True

    def save(self) -> None:
        if self._changed:
            with suppress(OSError, StressError):
                write_durably(self._path, json.dumps(self._files).encode())

    @staticmethod
    def _key(path: Path) -> str:
        return digest_of(os.fsencode(path.absolute()).hex()).short
