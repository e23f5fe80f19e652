"""The system under examination: settings, and connections of its own to each part, opened at first use.

These are not the library's working connections: timeouts are short, a database in the wrong encoding or at an old
schema revision can still be queried, and the checks share what was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.engine import Connection

from agentstate.clock import Clock, utc_now
from agentstate.errors import ConfigurationError, IndexUnavailable, RedisUnavailable
from agentstate.settings import Settings
from agentstate.store import Store

if TYPE_CHECKING:
    from httpx import Client

MASK = "********"
_SECRET_WORDS = ("password", "passwd", "secret", "token", "key")

TIMEOUT_S = 2.0
"""How long Redis and Qdrant may take to answer."""
WORKERS_TIMEOUT_S = 1.5
"""How long workers may take to answer; all are asked at once, so it is always waited for in full."""


class System:
    """Opens connections for checks; `close()` closes them.

    Args:
        load: gives the settings; raises ConfigurationError.
        env_file: the settings file that `load` reads; it lies in the data folder of a one-machine stack.
        clock: this machine's time.
        workers_timeout_s: how long to listen for answers of workers.
    """

    def __init__(
        self,
        load: Callable[[], Settings] = Settings.load,
        *,
        env_file: Path | None = None,
        clock: Clock = utc_now,
        workers_timeout_s: float = WORKERS_TIMEOUT_S,
    ) -> None:
        self._load = load
        self.env_file = env_file
        self.clock = clock
        self.workers_timeout_s = workers_timeout_s
        self._redis_info: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def settings(self) -> Settings:
        """The settings; raises ConfigurationError."""
        return self._load()

    @cached_property
    def store(self) -> Store:
        """The durable store at any revision; raises ConfigurationError for an invalid URL."""
        return Store.open(_readable_url(self.settings.database_url), pool_size=1)

    @contextmanager
    def connect_store(self) -> Iterator[Connection]:
        """Open a connection to the durable store; raises StoreUnavailable."""
        with self.store.read_connection() as connection:
            yield connection

    @contextmanager
    def connect_redis(self, url: str) -> Iterator[Redis]:
        """Open a client of one Redis server; raises RedisUnavailable."""
        client = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None)
        with closing(client):
            try:
                yield client
            except RedisError as error:
                raise RedisUnavailable(f"Redis at {mask_url(url)} does not answer: {error}") from error

    def read_redis_info(self, url: str) -> dict[str, Any]:
        """Return the result of `INFO`, queried once; raise RedisUnavailable."""
        if url not in self._redis_info:
            with self.connect_redis(url) as client:
                self._redis_info[url] = dict(client.info())
        return self._redis_info[url]

    @cached_property
    def _http_client(self) -> Client:
        import httpx

        key = self.settings.qdrant_api_key
        headers = {"api-key": key.get_secret_value()} if key else {}
        return httpx.Client(base_url=self.settings.qdrant_url, headers=headers, timeout=TIMEOUT_S)

    def query_qdrant(self, path: str) -> dict[str, Any]:
        """Return Qdrant's JSON answer to `GET path`; raise IndexUnavailable with the reason."""
        import httpx

        where = mask_url(self.settings.qdrant_url)
        try:
            answer = self._http_client.get(path)
            answer.raise_for_status()
            document: dict[str, Any] = answer.json()
        except httpx.HTTPStatusError as error:
            raise IndexUnavailable(f"Qdrant at {where} answers {error.response.status_code} to {path}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise IndexUnavailable(f"Qdrant at {where} does not answer: {error}") from error
        except ValueError as error:
            raise IndexUnavailable(f"the server at {where} is not Qdrant: its answer is not JSON") from error
        return document

    def close(self) -> None:
        """Close all connections."""
        for name in ("store", "_http_client"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()


def _readable_url(database_url: str) -> str:
    """Return the URL with options to detect a wrong encoding; a missing SQLite file is an error and not made."""
    try:
        url = sa.make_url(database_url)
    except sa.exc.ArgumentError:
        return database_url
    if url.get_backend_name() == "postgresql":
        return url.update_query_dict({"client_encoding": "utf8"}).render_as_string(hide_password=False)
    if url.database and url.database != ":memory:" and not Path(url.database).is_file():
        raise ConfigurationError(f"there is no SQLite file {url.database}. `agentstate migrate` creates it.")
    return database_url


def mask_url(url: str) -> str:
    """Return `url` with its password, and any query value named like a secret, replaced by stars."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    before, at, host = parts.netloc.rpartition("@")
    if not at and "@" in url:
        # A password with an unescaped / or ? or #: its end is unknown.
        return f"{parts.scheme}://{MASK}"
    user, colon, _ = before.partition(":")
    hidden = url.replace(parts.netloc, f"{user}{colon}{MASK}{at}{host}", 1) if colon else url
    if not parts.query:
        return hidden
    pairs = []
    for pair in parts.query.split("&"):
        name = pair.partition("=")[0]
        is_secret = any(word in name.lower() for word in _SECRET_WORDS)
        pairs.append(f"{name}={MASK}" if is_secret else pair)
    return hidden.replace(parts.query, "&".join(pairs), 1)
