"""The index of memories in Qdrant: collections and points, queries, comparison with the store, and rebuild."""
