"""Embedding and language models, with and without a key."""
