"""Readiness checks: each asks one server once, over a real connection, and says why it is not ready yet."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from deploy.local.stack.spec import Probe

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


def http_answers(url: str) -> Probe:
    """Ready when a GET of `url` is answered with a status below 400."""
    # Without the proxy of the environment: it cannot reach this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def probe() -> str | None:
        try:
            with opener.open(url, timeout=TIMEOUT_S):
                return None
        except (urllib.error.URLError, HTTPException, OSError) as error:
            return f"{url}: {error}"

    return probe


def file_is_there(path: Path) -> Probe:
    """Ready when a file exists that the process makes once it works."""
    return lambda: None if path.exists() else f"{path.name} is not there yet"
