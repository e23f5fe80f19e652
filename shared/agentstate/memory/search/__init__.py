"""Recall: ask the index and the store, fuse their scores, and return hits with their reasons."""
