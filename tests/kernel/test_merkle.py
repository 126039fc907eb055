"""The tree against the RFC 6962 definition and known vectors."""

from __future__ import annotations

import hashlib

import pytest

from app.kernel import merkle

# Leaves and roots as Certificate Transparency implementations publish them for RFC 6962.
LEAVES = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
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


def reader(leaves: list[bytes]) -> merkle.ReadHash:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    return lambda level, index: merkle.fold(hashes[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_match_published_vectors(size: int) -> None:
    assert merkle.root(size, reader(LEAVES)).hex() == ROOTS[size - 1]


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert merkle.root(0, reader([])) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33, 100])
def test_every_inclusion_proof_holds_and_no_altered_one_does(size: int) -> None:
    leaves = [str(n).encode() for n in range(size)]
    read = reader(leaves)
    root = merkle.root(size, read)
    for index in range(size):
        leaf = merkle.leaf_hash(leaves[index])
        path = merkle.inclusion_proof(index, size, read)
        assert merkle.verify_inclusion(leaf, index, size, path, root)
        assert not merkle.verify_inclusion(merkle.leaf_hash(b"x"), index, size, path, root)
        assert not merkle.verify_inclusion(leaf, index, size, [*path, root], root)
        if size > 1:
            assert not merkle.verify_inclusion(leaf, (index + 1) % size, size, path, root)


def test_every_consistency_proof_holds_and_no_altered_one_does() -> None:
    leaves = [str(n).encode() for n in range(40)]
    read = reader(leaves)
    roots = {n: merkle.root(n, read) for n in range(1, 41)}
    for new in range(2, 41):
        for old in range(1, new):
            path = merkle.consistency_proof(old, new, read)
            assert merkle.verify_consistency(old, new, roots[old], roots[new], path)
            assert not merkle.verify_consistency(old, new, roots[new], roots[old], path)
            assert not merkle.verify_consistency(old, new, roots[old], roots[new], path[:-1])
