"""A real SLURM with one node, started once for all tests of this folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
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
    environment = {"SLURM_LAB": str(lab), "SLURM_PORTS": _ports(3), "SLURM_DBD": str(int(accounting))}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            up = subprocess.run(
                ["bash", HERE / "up.sh"], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
            )
            if up.returncode:
                pytest.skip(
                    f"SLURM cannot be installed or started: {(up.stderr.strip() or 'no reason').splitlines()[-1]}"
                )
            patch.setenv("SLURM_CONF", str(lab / "slurm.conf"))
            yield lab
        finally:
            subprocess.run(["bash", HERE / "down.sh", "--purge"], capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster without accounting."""
    with _cluster(accounting=False) as lab:
        yield lab


@pytest.fixture(scope="module")
def accounted() -> Iterator[Path]:
    """A cluster with accounting."""
    with _cluster(accounting=True) as lab:
        yield lab
