"""Clip manifests on the disk: verify the bytes, then use those bytes."""

from __future__ import annotations

from pathlib import Path

from vjepa_stress.digest import sha256
from vjepa_stress.errors import IdentityChanged


def verified(path: Path, digest: str, data: bytes | None = None) -> bytes:
    """The bytes of a clip manifest.

    Args:
        digest: what the ledger or a document names.
        data: the bytes, when they are known before they are on the disk.

    Raises:
        IdentityChanged: when the manifest is missing or another one.
    """
    if data is None and path.is_file():
        data = path.read_bytes()
    if data is None or sha256(data) != digest:
        raise IdentityChanged(
            "the clip manifest is not the one that the ledger or the document names",
            where=path,
            expected=digest,
            found="no such file" if data is None else sha256(data),
            fix="restore it from a copy",
        )
    return data
