"""Engines by URL, and which database a connection leads to."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from agentstate.errors import ConfigurationError
from agentstate.store.database import Database
from agentstate.store.postgres import PostgresDatabase
from agentstate.store.sqlite import SqliteDatabase

DATABASES: Final[dict[str, Database]] = {each.name: each for each in (PostgresDatabase(), SqliteDatabase())}


def open_engine(database_url: str, *, pool_size: int = 5) -> Engine:
    """Return an engine for `database_url` that connects on first use.

    Raises:
        ConfigurationError: the URL cannot be read, names another database, or a folder that is not there.
    """
    try:
        url: URL = make_url(database_url)
    except ArgumentError:
        raise ConfigurationError(
            "the database URL cannot be read; write postgresql+psycopg://USER@HOST/DATABASE, with a password, or "
            "sqlite:///PATH."
        ) from None
    database = DATABASES.get(url.get_backend_name())
    if database is None:
        raise ConfigurationError(f"{url.get_backend_name()} is not supported: use postgresql+psycopg or sqlite.")
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return database.open_engine(url, pool_size=pool_size)


def database_of(place: Connection | Engine) -> Database:
    """Return the database that a connection or an engine leads to."""
    return DATABASES[place.dialect.name]
