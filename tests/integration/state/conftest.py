"""Versioned state on both databases; the tests keep apart by agents of their own."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentstate.state.agent_db import AgentDB
from agentstate.store.store import Store

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def state_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One migrated database for a test module."""
    if request.param == "postgres":
        return str(request.getfixturevalue("module_postgres_url"))
    template: Path = request.getfixturevalue("_sqlite_template")
    path = tmp_path_factory.mktemp("state") / "agentstate.db"
    shutil.copy(template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def store(state_url: str) -> Iterator[Store]:
    opened = Store.open(state_url, pool_size=10)
    yield opened
    opened.close()


@pytest.fixture
def db(store: Store) -> AgentDB:
    return AgentDB(store)


@pytest.fixture
def agent_id() -> str:
    """A new agent."""
    return f"ag_state_{next(_numbers)}"
