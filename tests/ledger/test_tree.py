"""The Merkle tree against the published certificate-transparency vectors and RFC 6962's recursive definition."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjepa_stress.digest import Digest, sha256
from vjepa_stress.ledger.tree import Tree, extends, includes, merkle_root

# Inputs, roots and proofs that the certificate-transparency implementations publish as test vectors.
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index, size): proof
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {  # (earlier size, size): proof
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def digests(texts: list[str]) -> tuple[Digest, ...]:
    return tuple(Digest(f"sha256:{text}") for text in texts)


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(entries: list[bytes]) -> int:
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return k


def naive_root(entries: list[bytes]) -> bytes:
    """MTH(D[n]) as RFC 6962, section 2.1, writes it."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return leaf(entries[0])
    k = split(entries)
    return node(naive_root(entries[:k]), naive_root(entries[k:]))


def naive_path(m: int, entries: list[bytes]) -> list[str]:
    """PATH(m, D[n]) as RFC 6962, section 2.1.1, writes it."""
    if len(entries) == 1:
        return []
    k = split(entries)
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:]).hex()]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k]).hex()]


def naive_proof(m: int, entries: list[bytes], whole: bool = True) -> list[str]:
    """SUBPROOF(m, D[n], b) as RFC 6962, section 2.1.2, writes it."""
    if m == len(entries):
        return [] if whole else [naive_root(entries).hex()]
    k = split(entries)
    if m <= k:
        return [*naive_proof(m, entries[:k], whole), naive_root(entries[k:]).hex()]
    return [*naive_proof(m - k, entries[k:], False), naive_root(entries[:k]).hex()]


def test_published_roots() -> None:
    tree = Tree()
    assert tree.root() == merkle_root([]) == sha256(b"")
    for size, text in enumerate(ROOTS, 1):
        tree.append(INPUTS[size - 1])
        assert (len(tree), tree.root().hex) == (size, text)
    assert [tree.root(size).hex for size in range(1, 9)] == ROOTS


@pytest.mark.parametrize("place", INCLUSION)
def test_published_inclusion_proofs(place: tuple[int, int]) -> None:
    index, size = place
    proof = digests(INCLUSION[place])
    assert Tree(INPUTS).inclusion(index, size) == proof
    assert includes(Digest(f"sha256:{ROOTS[size - 1]}"), size, index, INPUTS[index], proof)


@pytest.mark.parametrize("sizes", CONSISTENCY)
def test_published_consistency_proofs(sizes: tuple[int, int]) -> None:
    earlier, size = sizes
    proof = digests(CONSISTENCY[sizes])
    assert Tree(INPUTS).consistency(earlier, size) == proof
    root, before = digests([ROOTS[size - 1], ROOTS[earlier - 1]])
    assert extends(root, size, before, earlier, proof)


def test_every_root_and_proof_up_to_forty_entries() -> None:
    entries = [bytes([number]) for number in range(40)]
    tree = Tree(entries)
    for size in range(41):
        root = tree.root(size)
        assert root.hex == naive_root(entries[:size]).hex()
        for index in range(size):
            proof = tree.inclusion(index, size)
            assert [one.hex for one in proof] == naive_path(index, entries[:size])
            assert includes(root, size, index, entries[index], proof)
        for earlier in range(size + 1):
            proof = tree.consistency(earlier, size)
            assert [one.hex for one in proof] == (naive_proof(earlier, entries[:size]) if earlier else [])
            assert extends(root, size, tree.root(earlier), earlier, proof)


TREES = st.lists(st.binary(max_size=6), min_size=1, max_size=70)


@given(TREES, st.data())
def test_inclusion_and_what_is_tampered_with(entries: list[bytes], data: st.DataObject) -> None:
    tree = Tree(entries)
    size = data.draw(st.integers(1, len(entries)))
    index = data.draw(st.integers(0, size - 1))
    root, proof, entry = tree.root(size), tree.inclusion(index, size), entries[index]
    assert root.hex == naive_root(entries[:size]).hex()
    assert [one.hex for one in proof] == naive_path(index, entries[:size])
    assert includes(root, size, index, entry, proof)
    other = data.draw(st.integers(-1, size + 1))
    if not (0 <= other < size and other == index):
        proven = includes(root, size, other, entry, proof)
        assert not proven or entries[other] == entry
    assert not includes(root, size, index, entry + b"x", proof)
    assert not includes(sha256(b"other"), size, index, entry, proof)
    assert not includes(root, size, index, entry, (*proof, sha256(b"")))
    for place in range(len(proof)):
        assert not includes(root, size, index, entry, (*proof[:place], sha256(b"x"), *proof[place + 1 :]))
        assert not includes(root, size, index, entry, (*proof[:place], *proof[place + 1 :]))


@given(TREES, st.data())
def test_consistency_and_what_is_tampered_with(entries: list[bytes], data: st.DataObject) -> None:
    tree = Tree(entries)
    size = data.draw(st.integers(1, len(entries)))
    earlier = data.draw(st.integers(1, size))
    root, before, proof = tree.root(size), tree.root(earlier), tree.consistency(earlier, size)
    assert [one.hex for one in proof] == naive_proof(earlier, entries[:size])
    assert extends(root, size, before, earlier, proof)
    assert not extends(sha256(b"x"), size, before, earlier, proof)
    assert not extends(root, size, sha256(b"x"), earlier, proof)
    assert not extends(root, size, before, earlier, (*proof, sha256(b"")))
    assert not extends(root, size, before, size + 1, proof)
    assert not extends(root, size, before, -1, proof)
    for place in range(len(proof)):
        assert not extends(root, size, before, earlier, (*proof[:place], sha256(b"x"), *proof[place + 1 :]))
        assert not extends(root, size, before, earlier, (*proof[:place], *proof[place + 1 :]))


@given(TREES, st.data())
def test_a_rewritten_history_is_no_extension(entries: list[bytes], data: st.DataObject) -> None:
    size = len(entries)
    earlier = data.draw(st.integers(1, size))
    changed = data.draw(st.integers(0, earlier - 1))
    rewritten = Tree([*entries[:changed], entries[changed] + b"x", *entries[changed + 1 :]])
    proof = rewritten.consistency(earlier, size)
    assert not extends(rewritten.root(), size, Tree(entries).root(earlier), earlier, proof)


def test_everything_extends_the_empty_tree() -> None:
    tree = Tree(INPUTS)
    assert extends(tree.root(), 8, sha256(b""), 0, tree.consistency(0))
    assert not extends(tree.root(), 8, sha256(b"x"), 0, ())
    assert not extends(tree.root(), 8, sha256(b""), 0, (sha256(b""),))


def test_an_early_size_is_refused() -> None:
    tree = Tree(INPUTS)
    for ask in (
        lambda: tree.root(9),
        lambda: tree.root(-1),
        lambda: tree.inclusion(8),
        lambda: tree.inclusion(3, 3),
        lambda: tree.inclusion(-1),
        lambda: tree.consistency(5, 4),
        lambda: tree.consistency(-1),
    ):
        with pytest.raises(IndexError):
            ask()


def test_reading_hashes_in_proportion_to_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root after every append: each takes O(log n) hashes, not O(n)."""
    count = 0
    sha = hashlib.sha256

    def counted(data: bytes) -> object:
        nonlocal count
        count += 1
        return sha(data)

    monkeypatch.setattr("vjepa_stress.ledger.tree.hashlib.sha256", counted)
    tree = Tree()
    for number in range(1024):
        tree.append(b"%d" % number)
        tree.root()
    assert count <= 1024 * (2 + 10)
