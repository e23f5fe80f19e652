"""Qdrant on one machine without a server: the in-process engine behind the REST routes that we call.

One process owns the data folder, holds one engine shard per collection, and answers an unmodified
`qdrant_client.QdrantClient(url=...)`. What the project does not call is answered with 501 and its name.
It serves loopback only and about 100,000 points; beyond that, run a Qdrant server: only the URL differs.
"""
