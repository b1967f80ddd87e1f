"""Downloads against a server that disconnects, changes its file and sends wrong headers."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from vjepa_stress.digest import Digest
from vjepa_stress.encoders import fetch as module
from vjepa_stress.encoders.fetch import fetch
from vjepa_stress.encoders.released import Released, recorded
from vjepa_stress.errors import BadInput, IdentityChanged, MachineFailure

CONTENT = bytes(hashlib.shake_256(b"weights").digest(300_000))
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Publisher:
    """What the server does; each list is used up from the front, one entry a request."""

    url: str = ""
    content: bytes = CONTENT
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    says_length: bool = True
    chunked: bool = False
    break_after: list[int | None] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    redirect: str | None = None
    change_to: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    sent: int = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers["Range"]
        self.requests.append(asked)
        if len(self.requests) > 1 and self.change_to:
            self.content, self.headers = self.change_to.pop(0)
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        status = self.status.pop(0) if self.status else 200
        start, total = 0, len(self.content)
        if status == 200 and asked and self.ranges:
            found = re.fullmatch(r"bytes=(\d+)-", asked)
            assert found
            start = int(found[1])
            status = 206 if start < total else 416
        request.send_response(status)
        for name, value in self.headers.items():
            request.send_header(name, value)
        body = self.content[start:] if status in (200, 206) else b""
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if self.chunked:
            request.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        elif self.says_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        most = self.break_after.pop(0) if self.break_after else None
        body = body if most is None else body[:most]
        self.sent += len(body)
        request.wfile.write(body)


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "BACKOFF_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(module, "CHUNK", 10_000)
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        close_connection = True

        def do_GET(self) -> None:
            publisher.answer(self)
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    publisher.url = f"http://127.0.0.1:{server.server_port}/weights.pt"
    yield publisher
    server.shutdown()
    server.server_close()
    thread.join()


def encoder(publisher: Publisher, sha256: str | None = None) -> Released:
    return Released(
        size="base",
        file="weights.pt",
        url=publisher.url,
        key="ema_encoder",
        sha256=Digest(sha256) if sha256 else None,
    )


def names(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()} - {"weights.pt.lock"}


def test_a_download_is_verified_recorded_and_then_trusted(publisher: Publisher, tmp_path: Path) -> None:
    store = tmp_path / "deep" / "store"
    assert fetch(encoder(publisher), store) == DIGEST
    assert (store / "weights.pt").read_bytes() == CONTENT
    assert names(store) == {"weights.pt", "weights.pt.sha256"}
    assert recorded(store / "weights.pt") == DIGEST
    # The record is what coreutils read.
    subprocess.run(["sha256sum", "--check", "--strict", "weights.pt.sha256"], cwd=store, check=True)
    assert fetch(encoder(publisher), store) == DIGEST
    assert publisher.requests == [None], "a complete file is not downloaded again"
    assert encoder(publisher).identify(store) == DIGEST


def test_a_pinned_download_needs_no_record(publisher: Publisher, tmp_path: Path) -> None:
    assert fetch(encoder(publisher, DIGEST), tmp_path) == DIGEST
    assert names(tmp_path) == {"weights.pt"}


def test_a_broken_download_goes_on_where_it_broke(publisher: Publisher, tmp_path: Path) -> None:
    publisher.break_after = [100_000, 0, 50_000, None]
    seen: list[tuple[int, int | None]] = []
    fetch(encoder(publisher), tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT
    assert publisher.requests == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert publisher.sent == len(CONTENT), "no byte twice"
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {len(CONTENT)}
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}, {}])
def test_a_later_call_goes_on_too(publisher: Publisher, tmp_path: Path, headers: dict[str, str]) -> None:
    publisher.headers = headers
    publisher.break_after = [120_000, 0, 0, 0, 0]
    with pytest.raises(MachineFailure, match="120000 bytes") as caught:
        fetch(encoder(publisher), tmp_path)
    assert caught.value.exit_code == 4
    assert names(tmp_path) == {"weights.pt.part", "weights.pt.part.json"}
    fetch(encoder(publisher), tmp_path)
    assert (tmp_path / "weights.pt").read_bytes() == CONTENT
    assert publisher.sent == len(CONTENT)
    assert names(tmp_path) == {"weights.pt", "weights.pt.sha256"}


def test_all_bytes_there_but_not_yet_named(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> Digest:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_accept", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch(encoder(publisher), tmp_path)
    assert "weights.pt" not in names(tmp_path)
    assert fetch(encoder(publisher), tmp_path) == DIGEST
    assert publisher.requests == [None]


def test_a_server_that_cannot_resume_starts_over(publisher: Publisher, tmp_path: Path) -> None:
    publisher.ranges = False
    publisher.break_after = [100_000, None]
    assert fetch(encoder(publisher), tmp_path) == DIGEST
    assert publisher.requests == [None, "bytes=100000-"]


def test_a_server_that_never_gets_further_is_given_up(publisher: Publisher, tmp_path: Path) -> None:
    publisher.ranges = False
    publisher.break_after = [100_000] * 50
    with pytest.raises(MachineFailure, match="failed 4 times in a row"):
        fetch(encoder(publisher), tmp_path)
    assert len(publisher.requests) == 5, "one with new bytes, then one and three repetitions without"


OTHER = CONTENT[::-1]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (OTHER, {"ETag": '"two"'}),
        (OTHER + b"more", {"ETag": '"one"'}),
        (OTHER[:200_000], {}),
        (OTHER[:50_000], {"ETag": '"two"'}),  # shorter than what we have: 416
        (OTHER[:100_000], {"ETag": '"two"'}),  # exactly as long as what we have: 416
    ],
)
@pytest.mark.parametrize("between", ["attempts", "calls"])
def test_parts_of_two_versions_are_never_joined(
    publisher: Publisher, tmp_path: Path, content: bytes, headers: dict[str, str], between: str
) -> None:
    publisher.break_after = [100_000]
    if between == "calls":
        publisher.status = [200, 503, 503, 503, 503]
        with pytest.raises(MachineFailure, match="503"):
            fetch(encoder(publisher), tmp_path)
    publisher.change_to = [(content, headers)]
    digest = fetch(encoder(publisher), tmp_path)
    assert (tmp_path / "weights.pt").read_bytes() == content
    assert digest == "sha256:" + hashlib.sha256(content).hexdigest()


def test_a_date_tells_versions_apart(publisher: Publisher, tmp_path: Path) -> None:
    publisher.headers = {"Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"}
    publisher.break_after = [100_000]
    publisher.change_to = [(OTHER, {"Last-Modified": "Fri, 02 Jan 1970 00:00:00 GMT"})]
    fetch(encoder(publisher), tmp_path)
    assert (tmp_path / "weights.pt").read_bytes() == OTHER


def test_a_part_of_unknown_origin_is_not_used(publisher: Publisher, tmp_path: Path) -> None:
    for note in (None, "{", "[]", "{}"):
        (tmp_path / "weights.pt.part").write_bytes(b"something else")
        if note is not None:
            (tmp_path / "weights.pt.part.json").write_text(note)
        assert fetch(encoder(publisher), tmp_path) == DIGEST
        assert publisher.requests[-1] is None
        (tmp_path / "weights.pt").unlink()


@pytest.mark.parametrize("known", ["pinned", "recorded"])
@pytest.mark.parametrize("how", ["downloaded", "there"])
def test_other_bytes_are_refused_and_moved_aside(publisher: Publisher, tmp_path: Path, known: str, how: str) -> None:
    released = encoder(publisher, DIGEST if known == "pinned" else None)
    if known == "recorded":
        fetch(released, tmp_path)
        (tmp_path / "weights.pt").unlink()
    if how == "downloaded":
        publisher.content = OTHER
    else:
        (tmp_path / "weights.pt").write_bytes(OTHER)
    with pytest.raises(IdentityChanged, match=known) as caught:
        fetch(released, tmp_path)
    assert caught.value.exit_code == 3
    assert (tmp_path / "weights.pt.rejected").read_bytes() == OTHER
    assert names(tmp_path) - {"weights.pt.sha256"} == {"weights.pt.rejected"}
    publisher.content = CONTENT
    assert fetch(released, tmp_path) == DIGEST, "the next call downloads again"


def test_an_unreadable_record_stops_the_fetch_and_moves_nothing(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "weights.pt.sha256").write_text("garbage")
    (tmp_path / "weights.pt").write_bytes(CONTENT)
    for present in (True, False):
        with pytest.raises(IdentityChanged, match="cannot be read"):
            fetch(encoder(publisher), tmp_path)
        assert (tmp_path / "weights.pt").exists() == present
        (tmp_path / "weights.pt").unlink(missing_ok=True)
    assert publisher.requests == []


def test_a_file_put_there_by_hand_is_recorded(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(CONTENT)
    assert fetch(encoder(publisher), tmp_path) == DIGEST
    assert recorded(tmp_path / "weights.pt") == DIGEST
    assert publisher.requests == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_refusal_is_tried_again(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.status = [status, status, 200]
    assert fetch(encoder(publisher), tmp_path) == DIGEST
    assert len(publisher.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_lasting_refusal_is_not(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.status = [status]
    with pytest.raises(BadInput, match=rf"weights\.pt(.|\n)*{status}") as caught:
        fetch(encoder(publisher), tmp_path)
    assert caught.value.exit_code == 2
    assert len(publisher.requests) == 1
    assert names(tmp_path) == set()


def test_a_login_page_is_no_checkpoint(publisher: Publisher, tmp_path: Path) -> None:
    publisher.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(BadInput, match="web page"):
        fetch(encoder(publisher), tmp_path)
    assert names(tmp_path) == set()


def test_a_body_of_unmarked_length_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.says_length = False
    with pytest.raises(BadInput, match="length of the file"):
        fetch(encoder(publisher), tmp_path)


def test_a_chunked_body_marks_its_end(publisher: Publisher, tmp_path: Path) -> None:
    publisher.chunked, publisher.break_after = True, [100_000, None]
    totals: set[int | None] = set()
    assert fetch(encoder(publisher), tmp_path, progress=lambda _, total: totals.add(total)) == DIGEST
    assert totals == {None, len(CONTENT)}, "only the response to a range has the total length"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_redirects_leave_http_for_nothing(publisher: Publisher, tmp_path: Path, target: str) -> None:
    publisher.redirect = target
    with pytest.raises(MachineFailure):
        fetch(encoder(publisher), tmp_path)
    assert "weights.pt" not in names(tmp_path)


def test_no_server_is_a_failure_of_the_machine(publisher: Publisher, tmp_path: Path) -> None:
    gone = encoder(publisher).model_copy(update={"url": "http://127.0.0.1:1/weights.pt"})
    with pytest.raises(MachineFailure, match="refused") as caught:
        fetch(gone, tmp_path)
    assert caught.value.exit_code == 4


def test_a_full_disk_keeps_what_came(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher.break_after = [100_000]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MachineFailure, match="No space left"):
            fetch(encoder(publisher), tmp_path)
    assert len(publisher.requests) == 1, "a full disk is not tried again"
    assert fetch(encoder(publisher), tmp_path) == DIGEST
    assert publisher.requests == [None, "bytes=100000-"]


def test_two_at_once_do_not_write_into_one_file(publisher: Publisher, tmp_path: Path) -> None:
    with FileLock(tmp_path / "weights.pt.lock"), pytest.raises(BadInput, match="another process"):
        fetch(encoder(publisher), tmp_path)
    assert publisher.requests == []
