"""Recall: ask the index and the store, fuse what both give, and return hits with their reasons."""
