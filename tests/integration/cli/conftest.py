"""The store that the commands write to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentstate.settings import Settings
from agentstate.store import Store


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """The database of the command."""
    opened = Store.open(settings.database_url)
    yield opened
    opened.close()
