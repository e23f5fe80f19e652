"""Readiness checks: each asks one server once, over a real connection, and says why it is not ready yet."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from deploy.local.spec import Probe

TIMEOUT_S = 2.0
"""Longest wait for one answer."""


def redis_answers(url: str) -> Probe:
    """Ready when Redis answers PING, which it does once it has read its append-only file."""

    def probe() -> str | None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0))
        try:
            client.ping()
        except redis.RedisError as error:
            return str(error)
        finally:
            client.close()
        return None

    return probe


def postgres_answers(dsn: str) -> Probe:
    """Ready when Postgres takes a connection, which it does once recovery is over."""

    def probe() -> str | None:
        import psycopg

        try:
            psycopg.connect(dsn, connect_timeout=int(TIMEOUT_S)).close()
        except psycopg.OperationalError as error:
            return str(error).strip()
        return None

    return probe


def http_answers(url: str, headers: Mapping[str, str] | None = None) -> Probe:
    """Ready when a GET of `url` is answered with a status below 400."""
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 our own loopback address

    def probe() -> str | None:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310 see above
                return None
        except (urllib.error.URLError, OSError) as error:
            return f"{url}: {error}"

    return probe


def file_is_there(path: Path) -> Probe:
    """Ready when a file exists that the process makes once it works."""
    return lambda: None if path.exists() else f"{path.name} is not there yet"


def folder_was_written(folder: Path, since: Path) -> Probe:
    """Ready when a file in `folder` is newer than the file `since`."""

    def probe() -> str | None:
        began = since.stat().st_mtime_ns
        written = any(path.stat().st_mtime_ns > began for path in folder.iterdir())
        return None if written else f"nothing was written in {folder} yet"

    return probe
