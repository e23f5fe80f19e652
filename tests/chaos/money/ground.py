"""What the runs stand on: databases made from one migrated template each, and a remote, in processes of their own.

Nothing here runs a thread or keeps a connection, so that the process may be forked at any moment.
"""

from __future__ import annotations

import gc
import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Self

import psycopg
from sqlalchemy.engine import make_url

from agentstate.store.migrate import upgrade_schema
from agentstate.store.store import Store
from deploy.local.stack import control
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.table import python_path
from tests.chaos.money.lives import end_all

TEMPLATE = "chaos_template"
ENGINES = ("sqlite", "postgres")
PROXIED = "proxied"
"""Postgres through a proxy."""


class Ground:
    """A context manager; at its end nothing is left.

    Args:
        folder: a throw-away folder.
        postgres: URL of a Postgres server that may be filled with databases; one is started when left out.
    """

    def __init__(self, folder: Path, postgres: str | None = None) -> None:
        self.folder, self._given = folder, postgres
        self._cleanup = ExitStack()
        self._numbers = itertools.count(1)
        self.remote = 0
        """The port of the running remote."""
        self.proxy = 0
        """The port of the proxy, once a store was opened through it."""
        self._kept: dict[tuple[str, int], Store] = {}

    def __enter__(self) -> Self:
        # Now, not on first use: that could come in a forked process, which would have it for itself alone.
        self.remote = self.program("tests.chaos.money.remote")
        return self

    def __exit__(self, *raised: object) -> None:
        end_all()
        self._cleanup.close()

    @cached_property
    def own_postgres(self) -> Folder | None:
        """The folder of the Postgres server that was started for this run, None when one was given."""
        if self._given is not None:
            return None
        folder = Folder(self.folder / "stack")
        control.start_detached(folder, ["--data", str(folder.path), "--only", "postgres"], lambda _line: None)
        self._cleanup.callback(control.stop_stack, folder, lambda _line: None)
        return folder

    @cached_property
    def server(self) -> str:
        """The URL of the Postgres server, without a database, with its template made."""
        url = self._given or _setting(self.own_postgres, "AGENTSTATE_DATABASE_URL")
        server = url.rsplit("/", 1)[0]
        _execute(server, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
        upgrade_schema(f"{server}/{TEMPLATE}")
        return server

    @cached_property
    def _sqlite_template(self) -> Path:
        path = self.folder / "template.db"
        upgrade_schema(f"sqlite:///{path}")
        return path

    def database(self, engine: str) -> str:
        """The URL of a fresh, migrated database."""
        number = next(self._numbers)
        if engine == "sqlite":
            path = self.folder / f"books_{number}.db"
            shutil.copy(self._sqlite_template, path)
            return f"sqlite:///{path}"
        name = f"chaos_{number}"
        _execute(self.server, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return f"{self.server}/{name}"

    def store(self, engine: str, number: int, warm: Callable[[Store], None]) -> Store:
        """The store on which process `number` plays; opened and warmed once, and left without a connection.

        A forked process finds its statements compiled and its dialect known, and opens a connection of its own.
        """
        if (engine, number) not in self._kept:
            url = self._through_proxy() if engine == PROXIED else self.database(engine)
            store = self._kept[engine, number] = Store.open(url, pool_size=2)
            warm(store)
            store.close()
            # What is there now is never collected: processes share its pages with this one instead of copying them.
            gc.collect()
            gc.freeze()
            gc.disable()
        return self._kept[engine, number]

    def _through_proxy(self) -> str:
        """The URL of a fresh Postgres database, reached through a proxy of its own."""
        url = make_url(self.database("postgres"))
        self.proxy = self.program("tests.chaos.money.proxy", str(url.host), str(url.port))
        return url.set(host="127.0.0.1", port=self.proxy).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database."""
        server, name = url.rsplit("/", 1)
        if url.startswith("postgresql"):
            _execute(server, f"DROP DATABASE {name} WITH (FORCE)")
        else:
            for path in self.folder.glob(f"{name}*"):
                path.unlink()

    def program(self, module: str, *arguments: str) -> int:
        """Start `python -m module arguments`; the number that it prints. It ends with this ground."""
        command = [sys.executable, "-m", module, *arguments]
        environment = {"PYTHONPATH": python_path(None), "PATH": "/usr/bin:/bin"}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
        self._cleanup.callback(_end, process)
        assert process.stdout is not None
        return int(process.stdout.readline())


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _setting(folder: Folder | None, name: str) -> str:
    assert folder is not None
    lines = (line.partition("=") for line in folder.env_file.read_text("utf-8").splitlines())
    return next(value.strip("'\"") for key, _, value in lines if key == name)


def _execute(server: str, *statements: str) -> None:
    with psycopg.connect(f"{server}/postgres".replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
