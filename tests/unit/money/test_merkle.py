"""The root stands for its leaves, their order and their number."""

from __future__ import annotations

import hashlib

import pytest

from agentstate.money.audit.attest import MerkleRoot


def digest_of(*leaves: bytes) -> bytes:
    root = MerkleRoot()
    for leaf in leaves:
        root.add_leaf(leaf)
    assert root.leaves == len(leaves)
    return root.compute_digest()


def naive(leaves: list[bytes]) -> bytes:
    """The root by its definition: split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + naive(leaves[:half]) + naive(leaves[half:])).digest()


@pytest.mark.parametrize("count", range(1, 20))
def test_the_stream_gives_the_root_of_the_definition(count: int) -> None:
    leaves = [bytes([number]) for number in range(count)]
    assert digest_of(*leaves) == naive(leaves)


def test_every_change_gives_another_root() -> None:
    roots = [digest_of(), digest_of(b"a"), digest_of(b"a", b"b"), digest_of(b"b", b"a"), digest_of(b"a", b"b", b"b")]
    assert len(set(roots)) == len(roots)
