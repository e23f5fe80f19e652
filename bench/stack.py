"""Servers and databases of the benchmarks, started on first use."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Self

import psycopg

from agentstate.settings import ENV_FILE_VARIABLE, PREFIX, Settings
from agentstate.store.migrate import upgrade_schema
from bench.texts import SHARED_DATA
from deploy.local.stack.stack import Stack


class BenchStack:
    """Servers and folders of one run of the benchmarks; a context manager that stops and removes them.

    Args:
        quick: small sizes, to see that everything works; the bars are then not judged.
        data: folder of public data sets (`locomo/`); groups that need one say so when it is absent.
        say: where progress lines go.
    """

    def __init__(self, *, quick: bool = False, data: Path = SHARED_DATA, say: Callable[[str], None] = print) -> None:
        self.quick, self.data, self.report = quick, data, say
        self._cleanup = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._cleanup.close()

    def choose_size(self, full: int, quick: int) -> int:
        """Return `full`, or `quick` in a quick run."""
        return quick if self.quick else full

    @cached_property
    def folder(self) -> Path:
        """A throw-away folder on the disk."""
        path = Path(tempfile.mkdtemp(prefix="agentstate-bench-"))
        self._cleanup.callback(shutil.rmtree, path, ignore_errors=True)
        return path

    @cached_property
    def stack(self) -> Stack:
        """Redis, Postgres and the Qdrant engine; Postgres and Redis write to the disk as they do in production."""
        self.report("starting Redis, Postgres and the Qdrant engine")
        return self._cleanup.enter_context(Stack(self.folder / "stack", only=("redis", "postgres", "qdrant")))

    def make_postgres(self) -> str:
        """The URL of a fresh, migrated Postgres database."""
        name = f"bench_{next(self._numbers)}"
        server = self.stack.env["AGENTSTATE_DATABASE_URL"].rsplit("/", 1)[0]
        with psycopg.connect(f"{server}/postgres".replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        upgrade_schema(f"{server}/{name}")
        return f"{server}/{name}"

    def make_sqlite(self) -> str:
        """The URL of a fresh, migrated SQLite database."""
        url = f"sqlite:///{self.folder / f'bench_{next(self._numbers)}.db'}"
        upgrade_schema(url)
        return url

    def make_settings(self, **changes: object) -> Settings:
        """Settings that point at the servers, on a fresh Postgres database."""
        return make_settings_for(self.stack, database_url=self.make_postgres(), **changes)


def make_settings_for(stack: Stack, **changes: object) -> Settings:
    """Settings that point at the servers of `stack`."""
    env = {name.removeprefix(PREFIX).lower(): value for name, value in stack.env.items() if name != ENV_FILE_VARIABLE}
    return Settings.model_validate(env | changes)
