"""Proof of the books: attested Merkle roots, recomputed balances, and exports that others can check."""
