"""Merkle trees of RFC 6962: roots, inclusion proofs and consistency proofs over SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from vjepa_stress.digest import Digest, sha256


class Tree:
    """An append-only tree with the root at every size.

    An append computes two hashes on average, a root of any size O(log n) hashes.
    """

    def __init__(self, entries: Iterable[bytes] = ()) -> None:
        # _levels[h][i] is the hash of the complete subtree over entries i * 2**h to (i + 1) * 2**h - 1.
        self._levels: list[list[bytes]] = [[]]
        for entry in entries:
            self.append(entry)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, entry: bytes) -> None:
        """Add an entry at the end."""
        node = _leaf(entry)
        for row in self._levels:
            row.append(node)
            if len(row) % 2:
                return
            node = _node(*row[-2:])
        self._levels.append([node])

    def root(self, size: int | None = None) -> Digest:
        """Root of the first `size` entries; of all entries when None.

        Raises:
            IndexError: when the tree has fewer entries.
        """
        return _digest(self._hash(0, self._checked(size))) if self._checked(size) else sha256(b"")

    def inclusion(self, index: int, size: int | None = None) -> tuple[Digest, ...]:
        """Proof that the entry at `index` is one of the first `size` entries; see `includes`.

        Raises:
            IndexError: when it is not.
        """
        if not 0 <= index < self._checked(size):
            raise IndexError(f"entry {index} is not one of the first {self._checked(size)}")
        return tuple(map(_digest, self._path(index, 0, self._checked(size))))

    def consistency(self, earlier: int, size: int | None = None) -> tuple[Digest, ...]:
        """Proof that the first `earlier` entries are a prefix of the first `size`; see `extends`.

        Raises:
            IndexError: when `earlier` is larger than `size`.
        """
        if not 0 <= earlier <= self._checked(size):
            raise IndexError(f"{earlier} entries are not a prefix of {self._checked(size)}")
        return tuple(map(_digest, self._subproof(earlier, 0, self._checked(size), True))) if earlier else ()

    def _checked(self, size: int | None) -> int:
        if size is not None and not 0 <= size <= len(self):
            raise IndexError(f"the tree has {len(self)} entries, not {size}")
        return len(self) if size is None else size

    def _hash(self, begin: int, end: int) -> bytes:
        # Every range that RFC 6962 splits off begins at a multiple of the power of two that holds it.
        size = end - begin
        if size & (size - 1) == 0:
            height = size.bit_length() - 1
            return self._levels[height][begin >> height]
        middle = begin + _split(size)
        return _node(self._hash(begin, middle), self._hash(middle, end))

    def _path(self, index: int, begin: int, end: int) -> list[bytes]:
        if end - begin == 1:
            return []
        middle = begin + _split(end - begin)
        if index < middle:
            return [*self._path(index, begin, middle), self._hash(middle, end)]
        return [*self._path(index, middle, end), self._hash(begin, middle)]

    def _subproof(self, earlier: int, begin: int, end: int, known: bool) -> list[bytes]:
        if earlier == end:
            return [] if known else [self._hash(begin, end)]
        middle = begin + _split(end - begin)
        if earlier <= middle:
            return [*self._subproof(earlier, begin, middle, known), self._hash(middle, end)]
        return [*self._subproof(earlier, middle, end, False), self._hash(begin, middle)]


def merkle_root(entries: Iterable[bytes]) -> Digest:
    """Root of byte strings in the given order; SHA-256 of the empty string when there are none."""
    return Tree(entries).root()


def includes(root: Digest, size: int, index: int, entry: bytes, proof: Sequence[Digest]) -> bool:
    """Whether `proof` proves that the tree of `size` entries with this root has `entry` at `index`."""
    if not 0 <= index < size:
        return False
    # RFC 9162, section 2.1.3.2.
    node, last, computed = index, size - 1, _leaf(entry)
    for sibling in map(_bytes, proof):
        if last == 0:
            return False
        if node % 2 or node == last:
            computed = _node(sibling, computed)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = _node(computed, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and computed == _bytes(root)


def extends(root: Digest, size: int, earlier_root: Digest, earlier: int, proof: Sequence[Digest]) -> bool:
    """Whether `proof` proves that the tree of `earlier_root` is a prefix, `earlier` entries long, of this tree."""
    if not 0 <= earlier <= size:
        return False
    if earlier in (0, size):
        return not proof and earlier_root == (root if earlier == size else sha256(b""))
    # RFC 9162, section 2.1.4.2.
    path = [_bytes(hashed) for hashed in proof]
    if earlier & (earlier - 1) == 0:
        path.insert(0, _bytes(earlier_root))
    if not path:
        return False
    node, last = earlier - 1, size - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node % 2 or node == last:
            old, new = _node(sibling, old), _node(sibling, new)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            new = _node(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == _bytes(earlier_root) and new == _bytes(root)


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _digest(raw: bytes) -> Digest:
    return Digest("sha256:" + raw.hex())


def _bytes(digest: Digest) -> bytes:
    return bytes.fromhex(digest.hex)
