"""Download a released checkpoint: resume, verify, then rename the file to its final name."""

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
"""Called with the number of downloaded bytes and the total number (None if unknown)."""

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds to wait before each retry; the count restarts when the file has grown."""

TIMEOUT_S = 60.0
"""Seconds without data after which a connection is considered broken."""

CHUNK = 1 << 20
"""Bytes per read."""


_TRANSIENT = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_EARLY, http.HTTPStatus.TOO_MANY_REQUESTS)


class _Interrupted(Exception):
    """This attempt failed; another may succeed."""


def fetch(encoder: Released, store: Path, *, progress: Progress | None = None) -> Digest:
    """Download a checkpoint, or verify an existing one.

    An interrupted download is resumed, also by a later call, as long as ETag, date and length of the server's file
    are the same. If no digest is pinned, that of the first download is recorded next to the file and required from
    then on.

    Args:
        encoder: has the address of the checkpoint, its file name and its pinned digest.
        store: folder of checkpoints; created if it does not exist.
        progress: called while bytes arrive.

    Returns:
        The digest of the file in `store`.

    Raises:
        IdentityChanged: when the file has another digest (it is renamed to `FILE.rejected`), or the recorded digest
            cannot be read.
        BadInput: when the server refuses the file, or another process is fetching it.
        MachineFailure: when the network or the disk fails; downloaded bytes are kept for the next call.
        CannotWrite: when `store` cannot be written.
    """
    path = store / encoder.file
    with writing(store):
        store.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        recorded(path)  # report an unreadable record before hours of download
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
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        with writing(path):
            lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(
            "another process is fetching this file", where=path, fix="wait until it has finished, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _accept(encoder: Released, source: Path, path: Path) -> Digest:
    """Verify the file `source` as the checkpoint `path`, and record its digest if none is known."""
    digest = sha256_file(source)
    try:
        encoder.check_digest(digest, path)
    except IdentityChanged as error:
        rejected = path.with_name(path.name + ".rejected")
        with writing(rejected):
            source.replace(rejected)
            _origin_of(source).unlink(missing_ok=True)
        raise IdentityChanged(
            "the fetched file does not have the known digest; it was renamed",
            where=rejected,
            expected=error.expected,
            found=error.found,
            fix="run the same command again to download the file again; if the publisher has replaced the file, "
            "it is another model and needs another YAML file",
        ) from None
    if encoder.sha256 is None and recorded(path) is None:
        write_durably(record_of(path), f"{digest.hex}  {path.name}\n".encode())
    return digest


def _origin_of(part: Path) -> Path:
    """The file that identifies the version of the server's file to which a partial download belongs."""
    return part.with_name(part.name + ".json")


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Download, with retries, until all bytes are in `part` and on disk."""
    most, failures = _size(part), 0
    while True:
        try:
            return _attempt(url, part, progress)
        except (_Interrupted, OSError, http.client.HTTPException) as error:
            # Only new bytes count as progress: a server that disconnects and cannot resume would loop for ever.
            failures = 0 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures > len(BACKOFF_S):
                raise MachineFailure(
                    f"the download failed {failures} times in a row",
                    where=url,
                    expected="the whole file",
                    found=f"{_size(part)} bytes, then: {error}",
                    fix="check the network, then run the same command again; it resumes the download",
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
        _raise_for(error, url, part)
    with response:
        start, total = _extent(response, url)
        version = _version(response.headers, total)
        if start == 0:
            # A first attempt, or a server that does not support ranges.
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
    """First byte of the response, and length of the whole file (None if the response marks its end)."""
    if response.headers.get_content_type() == "text/html":
        raise BadInput(
            "the server sent a web page instead of a checkpoint",
            where=url,
            fix="check whether a proxy or a login page intercepts the download",
        )
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        extent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers["Content-Range"] or "")
        if not extent:
            raise _Interrupted(f"invalid Content-Range: {response.headers['Content-Range']}")
        return int(extent[1]), int(extent[2])
    if response.length is None and not response.chunked:
        # A broken connection would look like the end of the file, and the digest of half a file would be recorded.
        raise BadInput(
            "the server does not send the length of the file",
            where=url,
            expected="a Content-Length header",
            fix="use another address in the model's YAML file",
        )
    return 0, response.length


def _version(headers: Message, total: int | None) -> dict[str, Any]:
    """Headers that identify a version of the server's file."""
    return {"etag": headers["ETag"], "modified": headers["Last-Modified"], "length": total}


def _same(one: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    """Whether two responses have the same version, by the headers that both have."""
    return one is not None and all(other[name] in (None, value) for name, value in one.items() if value is not None)


def _read_origin(part: Path) -> dict[str, Any] | None:
    try:
        origin = json.loads(_origin_of(part).read_bytes())
    except (OSError, ValueError):
        return None
    return origin if isinstance(origin, dict) and origin.keys() == {"etag", "modified", "length"} else None


def _raise_for(error: urllib.error.HTTPError, url: str, part: Path) -> NoReturn:
    """Raise `_Interrupted` for transient errors of the server, and BadInput for permanent ones."""
    error.close()
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        # The partial download is longer than the file, so it belongs to another file.
        _discard(part)
    elif 400 <= error.code < 500 and error.code not in _TRANSIENT:
        raise BadInput(
            "the server refuses the file",
            where=url,
            found=f"{error.code} {error.reason}",
            fix="compare the address in the model's YAML file with the publisher's page",
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
            raise BadInput(
                "redirect from https to http refused",
                where=req.full_url,
                expected="https",
                found=newurl,
                fix="use another address in the model's YAML file",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https only: urllib's default opener also opens files on this machine."""
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
