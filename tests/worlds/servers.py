"""Real servers for the tests: one Redis, Postgres and Qdrant engine a run, started when a test asks for them.

Each test gets databases of its own: a fresh Postgres database or SQLite file made from a migrated template, and
emptied Redis databases. A server program that is missing fails the test; it is never skipped.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from agentstate.runtime import Runtime
from agentstate.settings import PREFIX, Settings
from agentstate.store import Store
from agentstate.store.migrate import upgrade_schema
from deploy.local.stack.folder import Folder
from deploy.local.stack.stack import Stack
from deploy.local.stack.supervisor import end_leftovers
from tests.worlds import fast_folder as in_memory

ROOT = Path(__file__).parents[2]
NAME = "agentstate-test-"
CLONES = 180000
"""First version of Postgres that can leave the copying of a database's files to the kernel."""
DATABASES = ("postgres", "sqlite")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def fast_folder() -> Path:
    """A folder for the data of servers."""
    return in_memory.fast_folder()


@pytest.fixture(scope="session")
def stack(fast_folder: Path) -> Iterator[Stack]:
    """Redis, Postgres and Qdrant on free ports, on a folder in memory where possible, removed at the end."""
    _remove_abandoned(fast_folder)
    data = Path(tempfile.mkdtemp(prefix=NAME, dir=fast_folder))
    try:
        with Stack(data, only=("redis", "postgres", "qdrant")) as running:
            yield running
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _remove_abandoned(base: Path) -> None:
    """Clean up after test runs that were ended by `kill -9`."""
    for path in base.glob(f"{NAME}*"):
        folder = Folder(path)
        if path.owner() == Path.home().owner() and folder.read_record() and not folder.is_claimed():
            end_leftovers(folder)
            shutil.rmtree(path, ignore_errors=True)


def _server(stack: Stack, database: str) -> str:
    return stack.env["AGENTSTATE_DATABASE_URL"].rsplit("/", 1)[0] + f"/{database}"


@dataclass(frozen=True)
class Databases:
    """Makes and drops databases on one server, over one connection: opening it took a third of the time."""

    stack: Stack
    connection: psycopg.Connection[tuple[object, ...]]

    @contextmanager
    def fresh(self, template: str) -> Iterator[str]:
        """A database for a while; its URL."""
        name = f"test_{next(_numbers)}"
        # Copied as files: a third less work than by the log, block for block.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield _server(self.stack, name)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run one statement outside of any transaction."""
        self.connection.execute(statement.encode())


@pytest.fixture(scope="session")
def databases(stack: Stack) -> Iterator[Databases]:
    """The databases of the run's Postgres server."""
    dsn = _server(stack, "postgres").replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.info.server_version >= CLONES:
            connection.execute("SET file_copy_method = clone")
        yield Databases(stack, connection)


@pytest.fixture(scope="session")
def _postgres_template(databases: Databases) -> str:
    databases.execute("CREATE DATABASE migrated")
    upgrade_schema(_server(databases.stack, "migrated"))
    return "migrated"


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    upgrade_schema(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(databases: Databases, _postgres_template: str) -> Iterator[str]:
    """A fresh, migrated Postgres database."""
    with databases.fresh(_postgres_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_url(databases: Databases, _postgres_template: str) -> Iterator[str]:
    """A migrated Postgres database for all tests of a module; they keep apart by agents of their own."""
    with databases.fresh(_postgres_template) as url:
        yield url


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def module_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated durable store for a module, which runs on both; its tests keep apart by agents of their own."""
    if request.param == "postgres":
        return str(request.getfixturevalue("module_postgres_url"))
    template: Path = request.getfixturevalue("_sqlite_template")
    path = tmp_path_factory.mktemp("module") / "agentstate.db"
    shutil.copy(template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def empty_postgres_url(databases: Databases) -> Iterator[str]:
    """A fresh Postgres database without any table."""
    with databases.fresh("template0") as url:
        yield url


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite file."""
    path = tmp_path / "agentstate.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `database_url` on both databases, unless its `database` mark names one."""
    mark = metafunc.definition.get_closest_marker("database")
    if "database_url" in metafunc.fixturenames and not (mark and mark.args):
        metafunc.parametrize("database_url", DATABASES, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated durable store: both databases in turn, or the one of `pytest.mark.database("sqlite")`."""
    mark = request.node.get_closest_marker("database")
    name = mark.args[0] if mark and mark.args else request.param
    return str(request.getfixturevalue(f"{name}_url"))


@pytest.fixture
def store(request: pytest.FixtureRequest, database_url: str) -> Iterator[Store]:
    """The store at `database_url`, with as many connections as `pytest.mark.database(pool_size=...)` says."""
    mark = request.node.get_closest_marker("database")
    with closing(Store.open(database_url, **(mark.kwargs if mark else {}))) as opened:
        yield opened


def _emptied(stack: Stack, number: int) -> str:
    url = f"{stack.env['AGENTSTATE_REDIS_URL'].rsplit('/', 1)[0]}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def redis_url(stack: Stack) -> str:
    """An empty Redis database; another one than the tests before had, in case one of theirs still writes."""
    return _emptied(stack, 2 + next(_numbers) % 7)


@pytest.fixture
def broker_url(stack: Stack) -> str:
    """An empty Redis database for Celery queues."""
    return _emptied(stack, 9 + next(_numbers) % 7)


@pytest.fixture
def settings_changes() -> dict[str, Any]:
    """What a test file sets otherwise, by name; `settings_at_sandbox` is one such choice."""
    return {}


@pytest.fixture
def settings(
    stack: Stack, postgres_url: str, redis_url: str, broker_url: str, settings_changes: dict[str, Any]
) -> Settings:
    """Settings that lead to this test's own databases; without a model, so that nothing heavy is loaded."""
    named: dict[str, Any] = {
        "database_url": postgres_url,
        "redis_url": redis_url,
        "broker_url": broker_url,
        "qdrant_url": stack.env["AGENTSTATE_QDRANT_URL"],
        "qdrant_api_key": stack.env["AGENTSTATE_QDRANT_API_KEY"],
        "embedder": "lexical",
    }
    return Settings.load(**(named | settings_changes))


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    """A process's connections by `settings`."""
    with closing(Runtime(settings)) as opened:
        yield opened


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Redis itself."""
    with redis.Redis.from_url(redis_url, socket_timeout=5) as opened:
        yield opened


@pytest.fixture
def settings_env(settings: Settings) -> dict[str, str]:
    """The same settings as environment variables, for programs that a test starts."""
    shown = settings.model_dump(exclude_none=True)
    return {PREFIX + name.upper(): str(plain_value(value)) for name, value in shown.items()}


def plain_value(value: object) -> object:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


@contextmanager
def running_worker(env: Mapping[str, str], queues: str, *options: str) -> Iterator[None]:
    """A worker process of its own on `queues`, separated by commas."""
    command = [sys.executable, "-m", "workers", "worker", "--queues", queues, *options]
    path = {"PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}"}
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env, **path}, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
