"""Readiness checks: each asks one server once, over a real connection, and says why it is not ready yet."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

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


def command_succeeds(command: Sequence[str], env: Mapping[str, str], cwd: str, *, timeout: float = 20.0) -> Probe:
    """Ready when a command ends with exit code 0."""

    def probe() -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 our own command
                command, env=dict(env), cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} gave no answer within {timeout:g} s"
        return None if done.returncode == 0 else (done.stdout + done.stderr).strip()[-500:]

    return probe
