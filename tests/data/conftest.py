"""What earlier runs remember of files stays out of the tests, and the tests out of what the user's runs remember."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "memory"))
