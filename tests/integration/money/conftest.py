"""The store of a module: its tests keep apart by agents of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentstate.store.store import Store


@pytest.fixture(scope="module")
def store(module_database_url: str) -> Iterator[Store]:
    opened = Store.open(module_database_url, pool_size=20)
    yield opened
    opened.close()
