"""Read many files in parallel: digest and facts from the same bytes, cached between runs.

A cached result is valid while size, times and inode of the file are the same, unless `ReadOptions.full` is set. The
cache saves time and proves nothing: decoding a clip computes its digest again, from the decoded bytes.
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
"""Properties of a file, as JSON values."""

Examine = Callable[[bytes, Path], Facts]
"""Determines the properties of a file; raises BadVideo if the file cannot be used."""

_LISTED = 10
"""Number of unusable files that one error lists."""

_WORKERS = 8


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes:
        full: read every file again, without the cache.
        progress: called after each file that was read, with the number of files and the name of this one.
    """

    full: bool = False
    progress: Callable[[int, str], None] | None = None


_options: ContextVar[ReadOptions] = ContextVar("options", default=ReadOptions())  # noqa: B039 - frozen


@contextmanager
def inspecting(options: ReadOptions) -> Iterator[None]:
    """Use these options within the block. They change no result."""
    before = _options.set(options)
    try:
        yield
    finally:
        _options.reset(before)


@dataclass(frozen=True)
class Inspected:
    """The digest and the properties of a file.

    Attributes:
        digest: digest of its bytes.
        facts: properties of the same bytes.
    """

    digest: Digest
    facts: Facts


def inspect(files: Mapping[str, Path], kind: str, examine: Examine) -> tuple[dict[str, Inspected], list[BadVideo]]:
    """Read and examine files.

    Args:
        files: paths, by names that the caller chooses.
        kind: name and version of the examination; the cache is separate for each.
        examine: determines the properties of one file.

    Returns:
        Digest and properties by name, and the failures; both in the order of `files`.
    """
    options, cache = _options.get(), _Cache(kind)
    state = {name: _state(path) for name, path in files.items()}
    known = {
        name: cached
        for name, path in files.items()
        if not options.full and (cached := cache.get(path, state[name])) is not None
    }
    todo = [name for name in files if name not in known]
    failures: dict[str, BadVideo] = {}
    with ThreadPoolExecutor(_WORKERS) as workers:
        for name, result in zip(todo, workers.map(lambda name: _examined(files[name], examine), todo), strict=True):
            if isinstance(result, BadVideo):
                failures[name] = result
            else:
                known[name] = result
                # Do not cache a file that changed while it was read.
                if state[name] is not None and _state(files[name]) == state[name]:
                    cache.put(files[name], state[name], result)
            if options.progress:
                options.progress(len(todo), name)
    cache.save()
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
            fix="check that it exists and that you may read it; a broken link is a missing file",
        ) from error


def unusable(failures: Sequence[StressError], what: str) -> BadVideo:
    """One error for several failures, of which it lists up to ten; `what` is, for example, "3 of the 30 videos"."""
    if len(failures) == 1 and isinstance(failures[0], BadVideo):
        return failures[0]
    lines = [f"{f.where}: {f.what}" + (f" ({f.found})" if f.found is not None else "") for f in failures[:_LISTED]]
    if len(failures) > _LISTED:
        lines.append(f"and {len(failures) - _LISTED} more")
    return BadVideo(
        f"{what} cannot be used",
        expected=failures[0].expected if len({f.what for f in failures}) == 1 else None,
        found="".join(f"\n    {line}" for line in lines),
        fix="repair these files, or remove them from the data set; no other files replace them",
    )


def different(names: Mapping[str, Digest], where: object) -> None:
    """Refuse files with the same content: the clip would count twice.

    Raises:
        BadInput: with the names of two such files.
    """
    first: dict[Digest, str] = {}
    for name, digest in names.items():
        if digest in first:
            raise BadInput(
                "two of the chosen videos have the same content",
                where=where,
                found=f"{first[digest]} and {name}",
                fix="remove one of them",
            )
        first[digest] = name


def _examined(path: Path, examine: Examine) -> Inspected | BadVideo:
    try:
        data = bytes_of(path)
        return Inspected(sha256(data), examine(data, path))
    except BadVideo as error:
        return error


State = tuple[int, int, int, int]


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class _Cache:
    """Results of this user's earlier runs. A cache file that cannot be read or written is ignored."""

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

    def put(self, path: Path, state: State | None, inspected: Inspected) -> None:
        if state is not None:
            entry = {"state": list(state), "digest": inspected.digest, "facts": inspected.facts}
            self._files[self._key(path)] = entry
            self._changed = True

    def save(self) -> None:
        if self._changed:
            with suppress(OSError, StressError):
                write_durably(self._path, json.dumps(self._files).encode())

    @staticmethod
    def _key(path: Path) -> str:
        return digest_of(os.fsencode(path.absolute()).hex()).short
