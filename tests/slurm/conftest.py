"""A real SLURM with one node, started once for all tests of this folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _ports(n: int) -> str:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return " ".join(str(each.getsockname()[1]) for each in sockets)


@contextmanager
def _cluster(accounting: bool) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("needs root, to start SLURM's daemons")
    if shutil.which("apt-get") is None:
        pytest.skip("needs Debian, whose packages of SLURM it uses")
    # Sockets have short paths only. Ports and folder are new, so that several test runs do not meet.
    lab = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    own = {"SLURM_LAB": str(lab), "SLURM_PORTS": _ports(3), "SLURM_DBD": str(int(accounting))}
    try:
        if reason := _script("up.sh", own):
            pytest.skip(f"SLURM cannot be installed or started: {reason}")
        yield lab
    finally:
        _script("down.sh", own, "--purge")


def _script(name: str, own: Mapping[str, str], *words: str) -> str | None:
    """Run a script; the last line of its messages if it fails."""
    with tempfile.TemporaryFile("w+") as err:  # no pipe: daemons would keep it open
        try:
            subprocess.run(
                ["bash", HERE / name, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                env={**os.environ, **own},
                timeout=300,
                check=True,
            )
        except subprocess.SubprocessError as error:
            err.seek(0)
            return (err.read().strip().splitlines() or [str(error)])[-1]
    return None


@pytest.fixture(scope="module")
def _plain() -> Iterator[Path]:
    with _cluster(accounting=False) as lab:
        yield lab


@pytest.fixture
def cluster(_plain: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster without accounting."""
    monkeypatch.setenv("SLURM_CONF", str(_plain / "slurm.conf"))
    return _plain


@pytest.fixture
def accounted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cluster with accounting."""
    with _cluster(accounting=True) as lab:
        monkeypatch.setenv("SLURM_CONF", str(lab / "slurm.conf"))
        yield lab
