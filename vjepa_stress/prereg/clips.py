"""Verification of the bytes of clip manifests."""

from __future__ import annotations

from pathlib import Path

from vjepa_stress.digest import sha256
from vjepa_stress.errors import IdentityChanged


def verified(path: Path, digest: str, data: bytes | None = None) -> bytes:
    """The verified bytes of a clip manifest.

    Args:
        path: the file.
        digest: digest in the ledger or in a document.
        data: the bytes, if they are not on the disk yet.

    Raises:
        IdentityChanged: when the manifest is missing or has another digest.
    """
    if data is None and path.is_file():
        data = path.read_bytes()
    if data is None or sha256(data) != digest:
        raise IdentityChanged(
            "the clip manifest does not have the digest in the ledger or document",
            where=path,
            expected=digest,
            found="no such file" if data is None else sha256(data),
            fix="restore it from a copy",
        )
    return data
