"""Benchmarks: each prints a ratio of ours against a named reference, both measured in the same run."""
