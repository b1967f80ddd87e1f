"""Download a released checkpoint: resume, verify, and only then give it its name."""

from __future__ import annotations

import http
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from vjepa_stress.digest import Digest, sha256_file
from vjepa_stress.disk import sync_folder, write_durably, writing
from vjepa_stress.encoders.released import Released, record_of, recorded
from vjepa_stress.errors import BadInput, IdentityChanged, MachineFailure

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes there will be (None where the server does not say)."""

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds to wait before each further attempt; more bytes than ever before start the count anew."""

TIMEOUT_S = 60.0
"""Seconds of silence after which a connection counts as broken."""

CHUNK = 1 << 20
"""Bytes read at a time."""


_MAY_PASS = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_EARLY, http.HTTPStatus.TOO_MANY_REQUESTS)


class _Interrupted(Exception):
    """This attempt failed in a way that another may not."""


def fetch(encoder: Released, store: Path, *, progress: Progress | None = None) -> Digest:
    """Download a checkpoint, or verify the one that is there.

    An interrupted download is resumed, also by a later call, as long as the server's file is still the same one by
    its ETag, date and length. Where no digest is pinned, that of the first download is recorded beside the file, and
    holds from then on.

    Args:
        encoder: says where the checkpoint is published, its name and its pinned digest.
        store: folder of checkpoints; made when it does not exist.
        progress: told about bytes as they come.

    Returns:
        The digest of the file in `store`.

    Raises:
        IdentityChanged: when the file is not the known one (it is moved aside, to `FILE.rejected`), or the record
            cannot be read.
        BadInput: when the server says that there is no such file, or another fetch of it is running.
        MachineFailure: when the network or the disk gave up; what has come is kept for the next call.
        CannotWrite: when `store` does not take files.
    """
    path = store / encoder.file
    with writing(store):
        store.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        recorded(path)  # an unreadable record is reported before hours of download, not after
        if path.exists():
            return _accept(encoder, path, path)
        part = path.with_name(path.name + ".part")
        _download(encoder.url, part, progress)
        digest = _accept(encoder, part, path)
        with writing(path):
            part.replace(path)
            _origin_of(part).unlink(missing_ok=True)
            sync_folder(store)
        return digest


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        with writing(path):
            lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(
            "another process is fetching this file", where=path, fix="wait until it is done, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _accept(encoder: Released, here: Path, path: Path) -> Digest:
    """Verify the bytes at `here` as the checkpoint `path`, and record their digest where none is known."""
    digest = sha256_file(here)
    try:
        encoder.agree(digest, path)
    except IdentityChanged as error:
        rejected = path.with_name(path.name + ".rejected")
        with writing(rejected):
            here.replace(rejected)
            _origin_of(here).unlink(missing_ok=True)
        raise IdentityChanged(
            "the file that was fetched is not the known one; it was moved aside",
            where=rejected,
            expected=error.expected,
            found=error.found,
            fix="running the command again downloads it anew; a file that its publisher has replaced for good is "
            "another model, with a YAML of its own",
        ) from None
    if encoder.sha256 is None and recorded(path) is None:
        write_durably(record_of(path), f"{digest.hex}  {path.name}\n".encode())
    return digest


def _origin_of(part: Path) -> Path:
    """The note about which version of the server's file a partial download belongs to."""
    return part.with_name(part.name + ".json")


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Attempt until all bytes are in `part` and on the disk."""
    most, failures = _size(part), 0
    while True:
        try:
            return _attempt(url, part, progress)
        except (_Interrupted, OSError, http.client.HTTPException) as error:
            # Only new bytes are progress: a server that breaks off and cannot resume would keep us for ever.
            failures = 0 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures > len(BACKOFF_S):
                raise MachineFailure(
                    "the download was broken off again and again",
                    where=url,
                    expected="the whole file",
                    found=f"{_size(part)} bytes, then: {error}",
                    fix="look at the network, then run the same command again: it goes on where it was",
                ) from error
            time.sleep(BACKOFF_S[max(failures - 1, 0)])


def _attempt(url: str, part: Path, progress: Progress | None) -> None:
    have = _size(part)
    origin = _read_origin(part) if have else None
    if origin is None:
        have = 0
    elif origin["length"] == have:
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": "vjepa-stress"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        _explain(error, url, part)
    with response:
        start, total = _extent(response, url)
        version = _version(response.headers, total)
        if start == 0:
            # A first attempt, or a server that does not know ranges.
            _discard(part)
            with writing(part):
                _origin_of(part).write_text(json.dumps(version))
        elif start != have or not _same(origin, version):
            _discard(part)
            raise _Interrupted("the file on the server has changed since the last attempt")
        _receive(response, part, start, total, progress)


def _receive(
    response: http.client.HTTPResponse, part: Path, start: int, total: int | None, progress: Progress | None
) -> None:
    done = start
    with writing(part), part.open("ab") as stream:
        while True:
            if progress:
                progress(done, total)
            chunk = response.read(CHUNK)
            if not chunk:
                break
            stream.write(chunk)
            done += len(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    if total is not None and done != total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")


def _extent(response: http.client.HTTPResponse, url: str) -> tuple[int, int | None]:
    """First byte of what the server sends, and length of the whole file (None: the end will be marked)."""
    if response.headers.get_content_type() == "text/html":
        raise BadInput(
            "the server sends a web page and no checkpoint", where=url, fix="look for a proxy or a login in between"
        )
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        extent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers["Content-Range"] or "")
        if not extent:
            raise _Interrupted(f"the server sends an unknown part: {response.headers['Content-Range']}")
        return int(extent[1]), int(extent[2])
    if response.length is None and not response.chunked:
        # A broken connection would look like the end, and half a file would be recorded as the known one.
        raise BadInput("the server does not say how long the file is", where=url, fix="use another mirror")
    return 0, response.length


def _version(headers: Message, total: int | None) -> dict[str, Any]:
    """What tells one version of the server's file from another."""
    return {"etag": headers["ETag"], "modified": headers["Last-Modified"], "length": total}


def _same(one: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    """Whether two answers are about the same version, as far as both say."""
    return one is not None and all(other[name] in (None, value) for name, value in one.items() if value is not None)


def _read_origin(part: Path) -> dict[str, Any] | None:
    try:
        origin = json.loads(_origin_of(part).read_bytes())
    except (OSError, ValueError):
        return None
    return origin if isinstance(origin, dict) and origin.keys() == {"etag", "modified", "length"} else None


def _explain(error: urllib.error.HTTPError, url: str, part: Path) -> NoReturn:
    """Sort what the server refused into what may pass and what will not."""
    error.close()
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        # Our part is longer than the file: it is a part of another one.
        _discard(part)
    elif 400 <= error.code < 500 and error.code not in _MAY_PASS:
        raise BadInput(
            "the server does not give this file",
            where=url,
            found=f"{error.code} {error.reason}",
            fix="compare the address in the model's YAML with the publisher's page",
        ) from None
    raise _Interrupted(f"the server answered {error.code} {error.reason}") from None


def _discard(part: Path) -> None:
    with writing(part):
        part.unlink(missing_ok=True)
        _origin_of(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https:"):
            what = "the server leads from a safe address to an unsafe one"
            raise BadInput(what, where=req.full_url, expected="https", found=newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: urllib's own would follow an address to a file on this machine."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener
