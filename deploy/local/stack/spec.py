"""One process of the stack as plain data: its name, its command, and a probe that tells when it is ready.

The process table is a list of these. Nothing here starts anything, so a test or the demo can cut the table down, change
a command or add a process of its own. A probe asks one server once, over a real connection.
"""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

Probe = Callable[[], str | None]
"""Asks a process once whether it is ready: None when it is, else the reason why not yet."""


def do_nothing() -> None:
    """Do nothing: the default of a hook."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One process: its command, its readiness check, and how it is stopped."""

    name: str
    """Name in the log folder, in `status` and in messages."""
    command: tuple[str, ...]
    """Program and arguments; run from the repository root."""
    stage: int = 0
    """Processes of one stage start side by side; a stage begins when all of the one before it are ready."""
    once: bool = False
    """True for a command that has to end with exit code 0 before the next stage, and is never restarted."""
    ready: Probe | None = None
    """None: ready as soon as it runs."""
    ready_within: float = 90.0
    """Seconds to become ready; ample, for a death is seen at once and a busy machine is slow."""
    prepare: Callable[[], None] = do_nothing
    """Runs before every start: makes files, removes what a crash left."""
    settle: Callable[[], None] = do_nothing
    """Runs when the process has become ready for the first time, before the next stage."""
    port: int | None = None
    """TCP port on loopback, for the progress line and `status`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the stack."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within: float = 15.0
    """Seconds between the stop signal and SIGKILL."""


PROBE_TIMEOUT_S = 2.0
"""Longest wait for one answer."""


def redis_answers(url: str) -> Probe:
    """Ready when Redis answers PING, which it does once it has read its append-only file."""

    def probe() -> str | None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis.from_url(url, socket_timeout=PROBE_TIMEOUT_S, retry=Retry(NoBackoff(), 0))
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
            psycopg.connect(dsn, connect_timeout=int(PROBE_TIMEOUT_S)).close()
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
            with opener.open(url, timeout=PROBE_TIMEOUT_S):
                return None
        except (urllib.error.URLError, HTTPException, OSError) as error:
            return f"{url}: {error}"

    return probe


def file_is_there(path: Path) -> Probe:
    """Ready when a file exists that the process makes once it works."""
    return lambda: None if path.exists() else f"{path.name} is not there yet"
