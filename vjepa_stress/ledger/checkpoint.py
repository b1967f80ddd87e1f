"""Checkpoints: size and root of a ledger, in the text form of C2SP's tlog-checkpoint and signed-note.

    vjepa-stress/ledger
    6
    BidqocVV2Sut7UMzSnwzvgj2fDFmBTSH0N/EXPa2/ZU=

Lines of extensions may follow, then a blank line and one line for each signature: `— NAME BASE64`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import NamedTuple

from vjepa_stress.digest import Digest
from vjepa_stress.errors import LedgerTampered

ORIGIN = "vjepa-stress/ledger"
"""Origin line of checkpoints. It names no machine, so that a copy of a study root has the same checkpoints."""

KEEP = "do not edit the ledger or its checkpoint; restore both from a copy whose checkpoint you trust"
"""The fix when a ledger and its checkpoint disagree."""

_SIZE = re.compile(r"0|[1-9][0-9]{0,11}")
_SIGNATURE = re.compile(r"— ([^\s+]+) (\S+)")
_KEY_HASH = 4  # bytes of the key hash, before the signature


class Checkpoint(NamedTuple):
    """Size and Merkle root of a ledger. Its text form is the three lines of its note, which authors can publish."""

    size: int
    root: Digest

    def __str__(self) -> str:
        return f"{ORIGIN}\n{self.size}\n{self._base64}"

    @property
    def short(self) -> str:
        """Size and root on one line, for messages and tables."""
        return f"{self.size} {self._base64}"

    @property
    def _base64(self) -> str:
        return base64.b64encode(bytes.fromhex(self.root.hex)).decode()


@dataclass(frozen=True)
class Note:
    """A checkpoint file.

    Attributes:
        checkpoint: size and root.
        extensions: further lines of the signed text.
        signatures: signature lines; they are not verified.
    """

    checkpoint: Checkpoint
    extensions: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The bytes that `parse` reads."""
        lines = [str(self.checkpoint), *self.extensions, *(("", *self.signatures) if self.signatures else ())]
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, data: bytes, where: object) -> Note:
        """Parse a checkpoint file.

        Raises:
            LedgerTampered: when it does not have the exact form that `to_bytes` writes.
        """
        try:
            return cls._parsed(data.decode())
        except ValueError as error:
            raise LedgerTampered(
                "this file is not a checkpoint",
                where=where,
                expected=f"three lines: {ORIGIN}, size, root in base64; then signatures, if any",
                found=f"{error}: {data[:100]!r}",
                fix=KEEP,
            ) from error

    @classmethod
    def _parsed(cls, text: str) -> Note:
        if not text.endswith("\n") or any(char < " " for char in text.replace("\n", "")):
            raise ValueError("not printable lines of text")
        body, blank, rest = text[:-1].partition("\n\n")
        lines = body.split("\n")
        if len(lines) < 3 or "" in lines:
            raise ValueError("fewer than three lines, or an empty line")
        origin, size, root, *extensions = lines
        if origin != ORIGIN:
            raise ValueError("unknown origin")
        if not _SIZE.fullmatch(size):
            raise ValueError("invalid size")
        signatures = rest.split("\n") if blank else []
        for line in signatures:
            match = _SIGNATURE.fullmatch(line)
            if match is None or len(_decoded(match[2])) <= _KEY_HASH:
                raise ValueError("invalid signature line")
        digest = _decoded(root)
        if len(digest) != 32:
            raise ValueError("the root does not have 32 bytes")
        return cls(Checkpoint(int(size), Digest("sha256:" + digest.hex())), tuple(extensions), tuple(signatures))


def _decoded(text: str) -> bytes:
    """Decode canonical standard base64, with padding."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data
