"""One root over many leaves, made while they stream by.

Leaves and inner nodes are hashed under different prefixes, so that neither can be passed off as the other; only the
tops of whole subtrees are kept, so a million leaves take twenty digests of memory.
"""

from __future__ import annotations

import hashlib

_LEAF, _NODE = b"\x00", b"\x01"


class MerkleRoot:
    """Takes leaves in order; `digest` is the root over those taken so far."""

    def __init__(self) -> None:
        self.leaves = 0
        self._tops: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Take one more leaf."""
        top = hashlib.sha256(_LEAF + leaf).digest()
        whole = self.leaves
        # Each trailing one-bit of the count is a whole subtree that this leaf completes.
        while whole & 1:
            top = _joined(self._tops.pop(), top)
            whole >>= 1
        self._tops.append(top)
        self.leaves += 1

    def digest(self) -> bytes:
        """The 32 bytes that stand for all leaves; those of nothing when there are none."""
        if not self._tops:
            return hashlib.sha256(b"").digest()
        root = self._tops[-1]
        for top in reversed(self._tops[:-1]):
            root = _joined(top, root)
        return root


def _joined(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
