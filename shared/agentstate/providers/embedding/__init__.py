"""Embedders: text to vectors, by a local model or by a provider."""
