"""Clip manifests: the bytes that are used are those that were named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vjepa_stress.digest import sha256
from vjepa_stress.errors import IdentityChanged
from vjepa_stress.prereg.clips import verified


def test_bytes_come_from_the_disk_or_from_the_caller(tmp_path: Path) -> None:
    path, data = tmp_path / "clips.json", b'{"clips":[]}'
    assert verified(path, sha256(data), data) == data  # not on the disk yet
    path.write_bytes(data)
    assert verified(path, sha256(data)) == data
    path.write_bytes(b"other")
    assert verified(path, sha256(data), data) == data


@pytest.mark.parametrize("content", [None, b"", b'{"clips":[] }'])
def test_other_bytes_and_none_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path, digest = tmp_path / "clips.json", sha256(b'{"clips":[]}')
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IdentityChanged) as error:
        verified(path, digest)
    assert error.value.where == path
    assert error.value.expected == digest
    assert error.value.found == ("no such file" if content is None else sha256(content))
    with pytest.raises(IdentityChanged):
        verified(path, digest, b"bytes of the caller's own")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(IdentityChanged):
        verified(tmp_path, sha256(b""))
