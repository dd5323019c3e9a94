"""The tree of RFC 6962: known vectors, and proofs that hold for what is there and for nothing else."""

import hypothesis.strategies as st
from hypothesis import given, settings

from app.audit.merkle import MerkleTree, leaf_hash, root_of, verify_consistency, verify_inclusion

VECTORS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The test vectors of the Certificate Transparency reference implementation."""


def _leaves(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def test_the_roots_of_certificate_transparency() -> None:
    leaves = [leaf_hash(bytes.fromhex(vector)) for vector in VECTORS]
    tree = MerkleTree()
    for size, root in enumerate(ROOTS):
        assert root_of(leaves[:size]).hex() == root
        assert tree.root().hex() == root
        tree.extend(leaves[size : size + 1])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 1025), st.data())
def test_inclusion_holds_for_the_leaf_and_for_no_other(size: int, data: st.DataObject) -> None:
    leaves = _leaves(size)
    tree = MerkleTree()
    tree.extend(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = tree.inclusion(index)
    assert verify_inclusion(leaves[index], index, size, path) == tree.root()
    assert verify_inclusion(leaf_hash(b"other"), index, size, path) != tree.root()
    for changed in ((*path, bytes(32)), path[:-1] if path else (bytes(32),)):
        assert verify_inclusion(leaves[index], index, size, changed) != tree.root()
    if path:
        broken = (bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:])
        assert verify_inclusion(leaves[index], index, size, broken) != tree.root()
    assert verify_inclusion(leaves[index], size, size, path) is None


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 600), st.data())
def test_consistency_holds_between_sizes_and_breaks_with_any_change(size: int, data: st.DataObject) -> None:
    tree = MerkleTree()
    tree.extend(_leaves(size))
    old = data.draw(st.integers(1, size))
    path, roots = tree.consistency(old), (tree.root(old), tree.root())
    assert verify_consistency((old, size), roots, path)
    assert not verify_consistency((old, size), (bytes(32), roots[1]), path)
    assert not verify_consistency((old, size), (roots[0], bytes(32)), path)
    assert not verify_consistency((old, size), roots, (*path, bytes(32)))
    if path:
        assert not verify_consistency((old, size), roots, (bytes(32), *path[1:]))
