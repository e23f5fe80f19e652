"""The client of the run's engine process, with no collection at first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient

from tests.worlds.engine import EngineProcess, make_memories


@pytest.fixture
def client(engine: EngineProcess) -> Iterator[QdrantClient]:
    yield engine.client
    for collection in engine.client.get_collections().collections:
        engine.client.delete_collection(collection.name)


@pytest.fixture
def memories(client: QdrantClient) -> str:
    return make_memories(client)
